-- Of the selected photos, the original raws: each once, with what is left out and why.

local LrFileUtils = import "LrFileUtils"
local LrTasks = import "LrTasks"

local Selection = {}

local KEYS = { "path", "fileFormat", "isVideo", "isVirtualCopy", "masterPhoto" }
local RAW_FORMATS = { RAW = true, DNG = true }
local FILES_BETWEEN_PAUSES = 100

local function to_lua_pattern(pattern)
  local escaped = pattern:gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0")
  return "^" .. escaped:gsub("{stem}", ".+"):gsub("{name}", ".+"):gsub("{suffix}", "[^.]*") .. "%.[Dd][Nn][Gg]$"
end

local function leaf(path)
  return path:match("[^/\\]+$") or path
end

-- Whether a DNG is a result of ours: by the program that it names, or by its name, where the pattern adds to it.
function Selection.is_result(path, software, pattern)
  if type(software) == "string" and software:find("^rawdenoise") then
    return true
  end
  local has_own_text = pattern:gsub("{%a+}", "") ~= ""
  return has_own_text and leaf(path):find(to_lua_pattern(pattern)) ~= nil
end

local function to_masters(catalog, photos)
  local facts = catalog:batchGetRawMetadata(photos, KEYS)
  local masters, copies = {}, 0
  for _, photo in ipairs(photos) do
    if facts[photo].isVirtualCopy then
      copies = copies + 1
      photo = facts[photo].masterPhoto
    end
    table.insert(masters, photo)
  end
  return masters, copies > 0 and catalog:batchGetRawMetadata(masters, KEYS) or facts
end

local function reason_against(fact, software, pattern)
  if fact.isVideo or fact.fileFormat == "VIDEO" then
    return LOC "$$$/rawdenoise/Left/Video=a video"
  elseif not RAW_FORMATS[fact.fileFormat] then
    return LOC "$$$/rawdenoise/Left/NotRaw=not a raw"
  elseif fact.fileFormat == "DNG" and Selection.is_result(fact.path, software, pattern) then
    return LOC "$$$/rawdenoise/Left/Denoised=denoised already"
  elseif LrFileUtils.exists(fact.path) ~= "file" then
    return LOC "$$$/rawdenoise/Left/Missing=the file is missing or offline"
  end
  return nil
end

-- Sort `photos`: a list of {photo, path} of originals, and a list of {name, reason} of what is left out.
--
-- A virtual copy stands for its master. Has to be called from a task.
function Selection.sort(catalog, photos, pattern)
  local masters, facts = to_masters(catalog, photos)
  local formatted = catalog:batchGetFormattedMetadata(masters, { "software" })
  local originals, left, seen = {}, {}, {}
  for index, photo in ipairs(masters) do
    local fact = facts[photo]
    if not seen[fact.path] then
      seen[fact.path] = true
      local reason = reason_against(fact, formatted[photo].software, pattern)
      if reason then
        table.insert(left, { name = leaf(fact.path), reason = reason })
      else
        table.insert(originals, { photo = photo, path = fact.path })
      end
    end
    if index % FILES_BETWEEN_PAUSES == 0 then
      LrTasks.yield() -- a look at a file on a slow disk takes its time
    end
  end
  return originals, left
end

Selection.leaf = leaf

return Selection
