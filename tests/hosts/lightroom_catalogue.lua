-- LrCatalog, LrPhoto, LrKeyword and LrCollection: photos in memory, their files on disk.

local HERE = arg and arg[1] or "."
local Check = dofile(HERE .. "/lightroom_check.lua")

local Catalogue = {}

local function set_of(text)
  local set = {}
  for name in text:gmatch("%S+") do
    set[name] = true
  end
  return set
end

-- The keys of the SDK's reference: LrPhoto:getRawMetadata, getFormattedMetadata, setRawMetadata.
local RAW = set_of [[
  fileSize rating dimensions croppedDimensions shutterSpeed aperture exposureBias flash isoSpeedRating focalLength
  focalLength35mm dateTimeOriginal dateTimeDigitized dateTime gps gpsAltitude countVirtualCopies virtualCopies
  masterPhoto isVirtualCopy countStackInFolderMembers stackInFolderMembers isInStackInFolder stackInFolderIsCollapsed
  stackPositionInFolder topOfStackInFolderContainingPhoto colorNameForLabel fileFormat width height aspectRatio
  isCropped dateTimeOriginalISO8601 dateTimeDigitizedISO8601 dateTimeISO8601 lastEditTime editCount copyrightState
  uuid path isVideo durationInSeconds keywords customMetadata pickStatus locationIsPrivate smartPreviewInfo
  gpsImgDirection ]]
local TEXTS = [[
  label title caption copyName creator creatorJobTitle creatorAddress creatorCity creatorStateProvince
  creatorPostalCode creatorCountry creatorPhone creatorEmail creatorUrl headline iptcSubjectCode descriptionWriter
  iptcCategory iptcOtherCategories dateCreated intellectualGenre scene location city stateProvince country
  isoCountryCode jobIdentifier instructions provider source copyright rightsUsageTerms copyrightInfoUrl personShown
  nameOfOrgShown codeOfOrgShown event additionalModelInfo modelAge minorModelAge modelReleaseStatus modelReleaseID
  imageSupplierImageId sourceType propertyReleaseID propertyReleaseStatus ]]
local FORMATTED = set_of(TEXTS .. [[ keywordTags fileName folderName fileType rating software cameraModel artist ]])
local WRITABLE = { rating = "number", gps = "table", gpsAltitude = "number", gpsImgDirection = "number",
  pickStatus = "number", copyrightState = "string", colorNameForLabel = "string" }
for name in pairs(set_of(TEXTS)) do
  WRITABLE[name] = "string"
end
local FORMATS = { dng = "DNG", jpg = "JPG", tif = "TIFF", mov = "VIDEO", nef = "RAW", cr2 = "RAW", arw = "RAW" }

local function check_key(keys, what, key)
  return keys[key] or error(what .. " has no key " .. tostring(key), 3)
end

local function needs_gate(lr, what, photo)
  if not lr.gate then
    error(what .. " needs catalog:withWriteAccessDo", 4)
  elseif photo and photo.born_in == lr.gate then
    error(what .. ": the photo was added within this write access", 4)
  end
end

-- Change a table so that write access that fails can take it back.
local function change(lr, target, key, value)
  local former = rawget(target, key)
  table.insert(lr.gate.undo, function() rawset(target, key, former) end)
  rawset(target, key, value)
end

local function photo_class(lr)
  local function raw(photo, key)
    check_key(RAW, "getRawMetadata", key)
    lr:take_a_moment("photo:getRawMetadata")
    return photo.raw[key]
  end
  return Check.class("LrPhoto", {
    type = { run = function() return "LrPhoto" end },
    getRawMetadata = { "string", run = raw },
    getFormattedMetadata = { "string", run = function(photo, key)
      check_key(FORMATTED, "getFormattedMetadata", key)
      lr:take_a_moment("photo:getFormattedMetadata")
      return photo.formatted[key]
    end },
    setRawMetadata = { "string", "any", run = function(photo, key, value)
      needs_gate(lr, "photo:setRawMetadata", photo)
      local kind = check_key(WRITABLE, "setRawMetadata", key)
      assert(type(value) == kind, key .. " is a " .. kind)
      local is_raw = RAW[key]
      change(lr, is_raw and photo.raw or photo.formatted, key, value)
    end },
    addKeyword = { "LrKeyword", run = function(photo, keyword)
      needs_gate(lr, "photo:addKeyword", photo)
      change(lr, photo.raw.keywords, #photo.raw.keywords + 1, keyword)
    end },
    getDevelopSettings = { run = function(photo)
      lr:take_a_moment("photo:getDevelopSettings")
      return photo.develop
    end },
    applyDevelopSettings = { "table", "string?", "boolean?", run = function(photo, settings)
      needs_gate(lr, "photo:applyDevelopSettings", photo)
      assert(not photo.raw.isVideo, "photo:applyDevelopSettings: not for videos")
      change(lr, photo, "develop", settings)
    end },
    getContainedCollections = { run = function(photo)
      lr:take_a_moment("photo:getContainedCollections")
      return { unpack(photo.collections) }
    end },
  })
end

local function collection_class(lr)
  return Check.class("LrCollection", {
    getName = { run = function(collection) return collection.name end },
    isSmartCollection = { run = function(collection)
      lr:take_a_moment("collection:isSmartCollection")
      return collection.is_smart
    end },
    addPhotos = { "table", run = function(collection, photos)
      assert(not collection.is_smart, "collection:addPhotos: a smart collection")
      for _, photo in ipairs(photos) do
        needs_gate(lr, "collection:addPhotos", photo)
        change(lr, photo.collections, #photo.collections + 1, collection)
      end
    end },
  })
end

local function format_of(path)
  return FORMATS[(path:match("%.([^.]+)$") or ""):lower()]
end

local function software_of(path)
  local file = io.open(path, "rb")
  local software = file and file:read("*a"):match("rawdenoise %d[%d.]*")
  if file then
    file:close()
  end
  return software
end

local function new_photo(lr, path, facts)
  local raw = { path = path, fileFormat = format_of(path), isVideo = format_of(path) == "VIDEO",
    isVirtualCopy = false, keywords = {}, colorNameForLabel = "none", pickStatus = 0 }
  for key, value in pairs(facts.raw or {}) do
    raw[key] = value
  end
  local formatted = { software = software_of(path), label = "" }
  for key, value in pairs(facts.formatted or {}) do
    formatted[key] = value
  end
  local photo = setmetatable({ raw = raw, formatted = formatted, develop = facts.develop or {},
    collections = facts.collections or {}, born_in = lr.gate or false }, lr.photo_class)
  rawset(photo, "stack", { photo })
  return photo
end

local function folder_of(path)
  return path:match("^(.*)/")
end

local function stack(lr, photo, with, position)
  assert(not rawget(with, "is_removed"), "catalog:addPhoto: the stack's photo was removed from the catalogue")
  assert(folder_of(photo.raw.path) == folder_of(with.raw.path), "catalog:addPhoto: stacks are of one folder")
  assert(not with.raw.isVirtualCopy, "catalog:addPhoto: the stack's photo is a virtual copy")
  local members = {}
  for _, member in ipairs(with.stack) do
    if member == with and position == "above" then
      table.insert(members, photo)
    end
    table.insert(members, member)
  end
  if position ~= "above" then
    table.insert(members, photo)
  end
  for _, member in ipairs(members) do
    change(lr, member, "stack", members)
  end
end

local function add_photo(lr, catalog, path, with, position)
  needs_gate(lr, "catalog:addPhoto")
  assert(position == nil or position == "above" or position == "below", "catalog:addPhoto: above or below")
  assert(format_of(path), "catalog:addPhoto: no such format: " .. path)
  assert(io.open(path, "rb"), "catalog:addPhoto: no such file: " .. path):close()
  assert(not catalog.by_path[path], "catalog:addPhoto: is there already: " .. path)
  assert(not lr.unwelcome or not path:find(lr.unwelcome, 1, true), "Lightroom does not like this file")
  local photo = new_photo(lr, path, {})
  if with then
    stack(lr, photo, with, position)
  end
  change(lr, catalog.by_path, path, photo)
  change(lr, catalog.photos, #catalog.photos + 1, photo)
  return photo
end

local function batch(lr, keys, photos, wanted, field, what)
  for _, key in ipairs(wanted) do
    check_key(keys, what, key)
  end
  lr:take_a_moment(what)
  local result = {}
  for _, photo in ipairs(photos) do
    assert(not rawget(photo, "is_removed"), what .. ": the photo was removed from the catalogue")
    local values = {}
    for _, key in ipairs(wanted) do
      values[key] = photo[field][key]
    end
    result[photo] = values
  end
  return result
end

local function write(lr, func, parameters)
  lr:needs_task("catalog:withWriteAccessDo")
  assert(not lr.gate, "catalog:withWriteAccessDo: within another one")
  assert(parameters and type(parameters.timeout) == "number", "without a timeout a busy catalogue is an error")
  lr:take_a_moment("catalog:withWriteAccessDo")
  if lr.refusals > 0 then
    lr.refusals = lr.refusals - 1
    return "aborted"
  end
  lr.gate = { undo = {} }
  lr.writes = lr.writes + 1
  local ok, message = pcall(func)
  if not ok then
    for index = #lr.gate.undo, 1, -1 do
      lr.gate.undo[index]()
    end
  end
  lr.gate = nil
  return ok and "executed" or error(message, 0)
end

local function catalogue_class(lr)
  return Check.class("LrCatalog", {
    getTargetPhoto = { run = function(catalog) return catalog.selected[1] end },
    getTargetPhotos = { run = function(catalog)
      return { unpack(#catalog.selected > 0 and catalog.selected or catalog.photos) }
    end },
    findPhotoByPath = { "string", "any?", run = function(catalog, path)
      lr:take_a_moment("catalog:findPhotoByPath")
      return catalog.by_path[path]
    end },
    batchGetRawMetadata = { "table", "table", run = function(_, photos, keys)
      return batch(lr, RAW, photos, keys, "raw", "catalog:batchGetRawMetadata")
    end },
    batchGetFormattedMetadata = { "table", "table", run = function(_, photos, keys)
      return batch(lr, FORMATTED, photos, keys, "formatted", "catalog:batchGetFormattedMetadata")
    end },
    addPhoto = { "string", "LrPhoto?", "string?", run = function(...) return add_photo(lr, ...) end },
    withWriteAccessDo = { "string", "function", "table?", run = function(_, _, func, parameters)
      return write(lr, func, parameters)
    end },
  })
end

function Catalogue.new(lr)
  lr.photo_class, lr.collection_class = photo_class(lr), collection_class(lr)
  lr.keyword_class = Check.class("LrKeyword", { getName = { run = function(keyword) return keyword.name end } })
  local catalog = setmetatable({ photos = {}, by_path = {}, selected = {} }, catalogue_class(lr))
  -- What the user has done before: put a photo, a copy of one, a keyword or a collection into the catalogue.
  rawset(lr, "photo", function(path, facts)
    local photo = new_photo(lr, path, facts or {})
    table.insert(catalog.photos, photo)
    catalog.by_path[path] = photo
    return photo
  end)
  rawset(lr, "copy_of", function(master)
    local copy = new_photo(lr, master.raw.path, { raw = { isVirtualCopy = true, masterPhoto = master } })
    table.insert(catalog.photos, copy)
    return copy
  end)
  rawset(lr, "keyword", function(name) return setmetatable({ name = name }, lr.keyword_class) end)
  rawset(lr, "collection", function(name, is_smart)
    return setmetatable({ name = name, is_smart = is_smart or false }, lr.collection_class)
  end)
  rawset(lr, "select", function(...) catalog.selected = { ... } end)
  return catalog
end

local function names(items)
  local list = {}
  for _, item in ipairs(items) do
    table.insert(list, item.name)
  end
  return list
end

-- Every photo as plain values.
function Catalogue.describe(catalog)
  local list = {}
  for _, photo in ipairs(catalog.photos) do
    local raw, paths = {}, {}
    for key, value in pairs(photo.raw) do
      raw[key] = key ~= "masterPhoto" and value or nil
    end
    raw.keywords = names(photo.raw.keywords)
    for _, member in ipairs(photo.stack) do
      table.insert(paths, member.raw.path)
    end
    table.insert(list, { path = photo.raw.path, raw = raw, formatted = photo.formatted, develop = photo.develop,
      collections = names(photo.collections), stack = paths })
  end
  return list
end

return Catalogue
