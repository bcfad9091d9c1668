-- A folder for one run: the list of files, what the command writes, the file that cancels it.

local LrFileUtils = import "LrFileUtils"
local LrPathUtils = import "LrPathUtils"

local Scratch = {}

-- Write a file. Lua's io does not see every folder whose name is not ASCII on Windows: false there.
function Scratch.write(path, text)
  local file = io.open(path, "wb")
  if not file then
    return false
  end
  local is_written = file:write(text)
  return file:close() and is_written and true or false
end

local function parents()
  local temporary = LrPathUtils.getStandardFilePath("temp")
  if not WIN_ENV then
    return { temporary }
  end
  return { temporary, temporary:sub(1, 2) .. "\\Users\\Public" } -- one of them has an ASCII name
end

local function make_below(parent)
  local folder = LrFileUtils.chooseUniqueFileName(LrPathUtils.child(parent, "rawdenoise-" .. os.time()))
  LrFileUtils.createAllDirectories(folder)
  local probe = LrPathUtils.child(folder, "probe")
  if Scratch.write(probe, "?") and LrFileUtils.exists(probe) == "file" then
    return folder
  end
  LrFileUtils.delete(folder)
  return nil
end

-- A new empty folder that Lua, Lightroom and the command all can read and write.
function Scratch.make()
  for _, parent in ipairs(parents()) do
    local folder = make_below(parent)
    if folder then
      return folder
    end
  end
  return nil
end

return Scratch
