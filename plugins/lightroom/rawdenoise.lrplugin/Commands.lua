-- Which command is run, and with which words.

local LrFileUtils = import "LrFileUtils"
local LrPathUtils = import "LrPathUtils"

local Commands = {}

-- Whether a program can be there: a name is looked up by the shell, a path has to be a file.
local function may_exist(program)
  return LrPathUtils.isRelative(program) or LrFileUtils.exists(program) == "file"
end

-- What `rawdenoise plugins install lightroom` has noted: the words that run the program that installed this; or nil.
function Commands.noted()
  if LrFileUtils.exists(LrPathUtils.child(_PLUGIN.path, "Command.lua")) ~= "file" then
    return nil
  end
  local ok, noted = pcall(require, "Command")
  local words = ok and (type(noted) == "string" and { noted } or noted)
  if type(words) ~= "table" or type(words[1]) ~= "string" or not may_exist(words[1]) then
    return nil
  end
  return words
end

-- The words that run the program: as noted, else the preference, else by its name.
function Commands.program(settings)
  return Commands.noted() or { settings.command ~= "" and settings.command or "rawdenoise" }
end

local function append(words, more)
  for _, word in ipairs(more) do
    table.insert(words, word)
  end
  return words
end

local function percent(whole)
  return whole >= 100 and "1" or string.format("0.%02d", whole)
end

local ARGUMENTS = {}

function ARGUMENTS.denoise(settings)
  local words = {
    "--beside", "--name", settings.pattern,
    "--strength", percent(settings.strength), "--bundled", settings.size,
  }
  return append(words, settings.model ~= "" and { "--model", settings.model } or {})
end

function ARGUMENTS.train(settings)
  return { "--minutes", string.format("%d", settings.minutes), "--net", settings.size }
end

function ARGUMENTS.calibrate()
  return {}
end

-- All words of `command` for the files in `list`, which is cancelled by `cancel`.
function Commands.words(command, settings, list, cancel)
  local words = append({}, Commands.program(settings))
  append(words, { command, "--files-from", list, "--null" })
  append(words, ARGUMENTS[command](settings))
  return append(words, { "--json", "--progress", "json", "--cancel-file", cancel })
end

return Commands
