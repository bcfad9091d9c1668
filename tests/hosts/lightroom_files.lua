-- LrFileUtils, LrPathUtils, LrPrefs, and processes as LrTasks.execute starts them: by the system's shell.

local HERE = arg and arg[1] or "."
local Check = dofile(HERE .. "/lightroom_check.lua")

local Files = {}

local function quote(path)
  return "'" .. path:gsub("'", [['\'']]) .. "'"
end

local function exists(path)
  local file = io.open(path, "rb")
  if not file then
    return false
  end
  local _, _, code = file:read(0)
  file:close()
  return code == 21 and "directory" or "file"
end

local function read(path)
  local file = assert(io.open(path, "rb"), "no such file: " .. path)
  local data = file:read("*a")
  file:close()
  return data
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

-- Start a command line in the background; a function that gives its status once it has ended.
function Files.start(lr, line)
  local base = os.tmpname()
  write(base, line)
  local shell = lr.is_windows and lr.cmd_exe or "sh"
  os.execute(string.format("( %s %s; echo $? > %s.part; mv %s.part %s.status ) &", shell, base, base, base, base))
  local status
  return function()
    if not status and exists(base .. ".status") then
      status = tonumber(read(base .. ".status"))
      os.remove(base)
      os.remove(base .. ".status")
    end
    return status
  end
end

function Files.list(folder)
  local names = {}
  local listing = os.tmpname()
  os.execute("ls -A " .. quote(folder) .. " > " .. listing)
  for name in read(listing):gmatch("[^\n]+") do
    table.insert(names, name)
  end
  os.remove(listing)
  return names
end

local function choose_unique(path)
  local number, candidate = 1, path
  while exists(candidate) do
    number = number + 1
    candidate = path .. "-" .. number
  end
  return candidate
end

local function file_utils()
  return Check.namespace("LrFileUtils", {
    exists = { "string", run = exists },
    readFile = { "string", run = read },
    chooseUniqueFileName = { "string", run = choose_unique },
    createAllDirectories = { "string", run = function(path) return os.execute("mkdir -p " .. quote(path)) == 0 end },
    delete = { "string", run = function(path)
      return exists(path) ~= false and os.execute("rm -rf " .. quote(path)) == 0
    end },
  })
end

local function path_utils(lr)
  return Check.namespace("LrPathUtils", {
    child = { "string", "string", run = function(path, name) return path .. "/" .. name end },
    isRelative = { "string", run = function(path) return path:sub(1, 1) ~= "/" end },
    getStandardFilePath = { "string", run = function(which)
      return which == "temp" and lr.temporary or error("LrPathUtils.getStandardFilePath: " .. which)
    end },
  })
end

local function preferences_of(lr)
  return setmetatable({}, {
    __index = lr.preferences,
    __newindex = function(_, name, value)
      assert(({ string = true, number = true, boolean = true })[type(value)], name .. " cannot be kept")
      lr.preferences[name] = value
    end,
  })
end

function Files.install(lr)
  lr.namespaces.LrFileUtils = file_utils()
  lr.namespaces.LrPathUtils = path_utils(lr)
  lr.namespaces.LrPrefs = Check.namespace("LrPrefs", {
    prefsForPlugin = { "string?", run = function() return preferences_of(lr) end },
  })
end

return Files
