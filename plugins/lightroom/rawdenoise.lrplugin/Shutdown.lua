-- Lightroom quits or unloads the plug-in: a command that still runs is asked to stop.

local Job = require "Job"

return {
  LrShutdownFunction = function(done)
    Job.cancel_current()
    done()
  end,
}
