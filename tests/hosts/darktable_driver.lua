--[[
  Drives darktable for tests/hosts/test_darktable.py: runs the scenario that RAWDENOISE_SCENARIO names, writes what the
  plug-in says to RAWDENOISE_SAID, one message a line, and closes darktable. A scenario's last note is "passed",
  or why it did not come to its end.
]]

local dt = require "darktable"

local PATIENCE_S = 120 -- a scenario waits for what it can see, and gives up after so long

local said = {}
local transcript = assert(io.open(os.getenv("RAWDENOISE_SAID"), "wb"))

local function record(kind, text)
  said[#said + 1] = text
  transcript:write(kind, "\t", (text:gsub("[\r\n]", " ")), "\n")
  transcript:flush()
end

for _index, name in ipairs({"print", "print_error"}) do
  local original = dt[name]
  dt[name] = function(text)
    record(name, text)
    return original(text)
  end
end

local host = {said = said, note = function(text) record("note", tostring(text)) end, cancel = nil}

-- Keep the last bar's callback: a scenario calls host.cancel as darktable does when its cross is clicked.
local gui = getmetatable(dt.gui).__get
local create_job = dt.gui.create_job
gui.create_job = function()
  return function(text, has_progress, cancelled)
    local job = create_job(text, has_progress, cancelled)
    host.cancel = function() cancelled(job) end
    return job
  end
end

-- Wait until something is so; its value.
function host.wait(what, happened)
  local until_then = os.time() + PATIENCE_S
  while os.time() < until_then do
    local value = happened()
    if value then
      return value
    end
    dt.control.sleep(50)
  end
  error("never happened: " .. what)
end

-- Wait for the plug-in to say something; the message's number.
function host.wait_said(text, from)
  return host.wait("message " .. text, function()
    for index = from or 1, #said do
      if said[index]:find(text, 1, true) then
        return index
      end
    end
    return nil
  end)
end

function host.exists(path)
  local file = io.open(path, "rb")
  return file and file:close()
end

-- Press a shortcut of the plug-in with these pictures selected.
function host.press(label, images)
  dt.gui.selection(images)
  host.wait("selection", function() return #dt.gui.selection() == #images end)
  dt.gui.action("lua/rawdenoise: " .. label, 0, "button", "activate", 1.0)
end

dt.control.dispatch(function()
  local fine, problem = pcall(function()
    host.wait("panel", function() return pcall(function() return dt.gui.libs.rawdenoise.visible end) end)
    local scenario = assert(loadfile(os.getenv("RAWDENOISE_SCENARIO")))()
    scenario(dt, host)
  end)
  record("note", fine and "passed" or tostring(problem))
  dt.gui.action("global/quit", 0, "", "", 1.0)
end)
