-- What a camera's captures teach: `train` and `calibrate`, which answer with one record a camera.

local LrProgressScope = import "LrProgressScope"

local Job = require "Job"
local Reports = require "Reports"
local Runs = require "Runs"
local Selection = require "Selection"

local Learning = {}

local function describe_all(records, describe)
  local lines, failed = {}, 0
  for _, record in ipairs(records) do
    local line, is_failure = describe(record)
    table.insert(lines, line)
    failed = failed + (is_failure and 1 or 0)
  end
  return lines, failed
end

local function summarize(kind, records, failed, outcome)
  if outcome.is_cancelled then
    return kind.cancelled
  elseif outcome.error or #records == 0 or failed == #records then
    return kind.failed
  end
  return kind.done
end

local function group_file_errors(messages)
  local entries = {}
  for _, message in ipairs(messages) do
    local reason = Reports.without_path(message.text, message.file)
    table.insert(entries, { name = Selection.leaf(message.file), reason = reason })
  end
  return Reports.group(entries)
end

local function report(kind, records, left, outcome)
  local lines, failed = describe_all(records, kind.describe)
  local summary = summarize(kind, records, failed, outcome)
  if outcome.error then
    table.insert(lines, outcome.error)
  end
  for _, line in ipairs(group_file_errors(outcome.file_errors)) do
    table.insert(lines, line)
  end
  Reports.close(summary, lines, left, outcome, summary == kind.failed and "warning" or "info")
end

-- Run `kind.command` on the selected photos.
--
-- `kind` has the command's name, the record's type, the words `title`, `done`, `failed` and `cancelled`, and
-- `describe(record)`, which gives a line and whether it tells of a failure.
function Learning.start(kind)
  Runs.start(function(context, _, settings, originals, left)
    local progress = LrProgressScope({ title = kind.title, functionContext = context })
    progress:setCancelable(true)
    local records = {}
    local outcome = Job.run(context, {
      command = kind.command, settings = settings, files = Runs.paths(originals), progress = progress,
      on_record = function(record)
        if record.type == kind.record then
          table.insert(records, record)
        end
      end,
      on_progress = function(record) Runs.show_progress(progress, record) end,
      on_look = function() end,
    })
    progress:done()
    report(kind, records, left, outcome)
  end)
end

return Learning
