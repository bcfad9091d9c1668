-- Results into the catalogue: added, stacked above their sources, with what the user had given these.
--
-- A result is {photo, output}; `photo` is its source. It is written in two steps, as a photo is sure to take
-- metadata only once the step that added it has ended: `added` and `is_complete` say how far it has come. A step that
-- Lightroom has no time for is tried again by the next call.

local LrTasks = import "LrTasks"

local Catalogue = {}

local RAW_KEYS = {
  "rating", "colorNameForLabel", "pickStatus", "keywords", "gps", "gpsAltitude", "gpsImgDirection", "copyrightState",
}
local COPIED_RAW = { "rating", "gps", "gpsAltitude", "gpsImgDirection", "copyrightState" }
local COPIED_TEXTS = {
  "title", "caption", "headline", "creator", "creatorJobTitle", "creatorAddress", "creatorCity",
  "creatorStateProvince", "creatorPostalCode", "creatorCountry", "creatorPhone", "creatorEmail", "creatorUrl",
  "iptcSubjectCode", "descriptionWriter", "intellectualGenre", "scene", "location", "city", "stateProvince",
  "country", "isoCountryCode", "jobIdentifier", "instructions", "provider", "source", "copyright",
  "rightsUsageTerms", "copyrightInfoUrl", "personShown", "nameOfOrgShown", "codeOfOrgShown", "event",
}
local TEXT_KEYS = { "label", unpack(COPIED_TEXTS) }

-- Develop settings for a denoised photo: Lightroom's own denoising is not done a second time.
function Catalogue.adapt_settings(settings, resets_noise_reduction)
  local adapted = {}
  for name, value in pairs(settings) do
    if not name:find("^Enhance") then -- Lightroom's AI denoising and what else is computed of the source's pixels
      adapted[name] = value
    end
  end
  if resets_noise_reduction then
    adapted.LuminanceSmoothing = 0
    adapted.ColorNoiseReduction = 0
  end
  return adapted
end

local function standard_collections(photo)
  local standard = {}
  for _, collection in ipairs(photo:getContainedCollections()) do
    if not collection:isSmartCollection() then
      table.insert(standard, collection)
    end
  end
  return standard
end

-- What is copied, as it is now: a rating may have been given while the command ran.
local function read_sources(catalog, results, settings)
  if #results == 0 then
    return
  end
  local photos = {}
  for _, result in ipairs(results) do
    table.insert(photos, result.photo)
  end
  local raw = catalog:batchGetRawMetadata(photos, RAW_KEYS)
  local texts = catalog:batchGetFormattedMetadata(photos, TEXT_KEYS)
  for _, result in ipairs(results) do
    local photo = result.photo
    result.raw, result.texts = raw[photo], texts[photo]
    result.collections = settings.copyCollections and standard_collections(photo) or {}
    result.develop = settings.copyDevelop
      and Catalogue.adapt_settings(photo:getDevelopSettings(), settings.resetNoiseReduction)
  end
end

local function tell_not_copied(result, tell, message)
  message = tostring(message)
  tell(result, LOC("$$$/rawdenoise/Catalogue/NotCopied=was added, but not all could be copied: ^1", message))
end

-- Read what is copied; of a source that was removed meanwhile nothing is, and the others go on.
local function read_or_tell(catalog, results, settings, tell)
  if LrTasks.pcall(read_sources, catalog, results, settings) then
    return
  end
  for _, result in ipairs(results) do
    local ok, message = LrTasks.pcall(read_sources, catalog, { result }, settings)
    if not ok then
      result.is_complete = true
      tell_not_copied(result, tell, message)
    end
  end
end

local function copy_raw(result)
  for _, key in ipairs(COPIED_RAW) do
    if result.raw[key] ~= nil then
      result.added:setRawMetadata(key, result.raw[key])
    end
  end
  if (result.raw.pickStatus or 0) ~= 0 then
    result.added:setRawMetadata("pickStatus", result.raw.pickStatus)
  end
end

local function has_text(text)
  return type(text) == "string" and text ~= ""
end

local function copy_label(result)
  local color = result.raw.colorNameForLabel
  if has_text(result.texts.label) then
    result.added:setRawMetadata("label", result.texts.label) -- the user's word for it, which the colour follows
  elseif has_text(color) and color ~= "none" then
    result.added:setRawMetadata("colorNameForLabel", color)
  end
end

local function copy_texts(result)
  for _, key in ipairs(COPIED_TEXTS) do
    if has_text(result.texts[key]) then
      result.added:setRawMetadata(key, result.texts[key])
    end
  end
end

local function copy_keywords(result)
  for _, keyword in ipairs(result.raw.keywords or {}) do
    result.added:addKeyword(keyword)
  end
end

local function copy_develop(result)
  if result.develop then
    local step = LOC "$$$/rawdenoise/Catalogue/HistoryStep=Settings of the original (rawdenoise)"
    result.added:applyDevelopSettings(result.develop, step)
  end
end

local function copy_collections(result)
  for _, collection in ipairs(result.collections) do
    collection:addPhotos({ result.added })
  end
end

local COPIES = { copy_raw, copy_label, copy_texts, copy_keywords, copy_develop, copy_collections }

local function complete(result, tell)
  for _, copy in ipairs(COPIES) do
    local ok, message = LrTasks.pcall(copy, result)
    if not ok then
      tell_not_copied(result, tell, message)
    end
  end
  result.is_complete = true
end

local function add(catalog, result, tell)
  local ok, added = LrTasks.pcall(catalog.addPhoto, catalog, result.output, result.photo, "above")
  if not ok then -- a file that cannot be stacked is better in the catalogue than not
    ok, added = LrTasks.pcall(catalog.addPhoto, catalog, result.output)
  end
  if ok then
    result.added = added
  else
    result.is_complete = true
    tell(result, LOC("$$$/rawdenoise/Catalogue/NotAdded=could not be added to the catalogue: ^1", tostring(added)))
  end
end

local function mark_present(catalog, results)
  for _, result in ipairs(results) do
    if not result.added and catalog:findPhotoByPath(result.output) then
      result.is_complete = true -- what is there keeps what the user has made of it
    end
  end
end

local function select_pending(results, is_added)
  local pending = {}
  for _, result in ipairs(results) do
    if not result.is_complete and (result.added ~= nil) == is_added then
      table.insert(pending, result)
    end
  end
  return pending
end

-- One step for all `results`, in one entry of Lightroom's history; gives the error that kept it from happening.
local function write(catalog, results, seconds, step)
  if #results == 0 then
    return nil
  end
  local name = LOC "$$$/rawdenoise/Catalogue/Action=Add Denoised Photos"
  local ok, message = LrTasks.pcall(catalog.withWriteAccessDo, catalog, name, function()
    for _, result in ipairs(results) do
      step(result)
    end
  end, { timeout = seconds })
  return not ok and tostring(message) or nil
end

-- Bring `results` into the catalogue, waiting at most `seconds` for each of the two steps.
--
-- `tell` is called with a result and a reason for what could not be done. Gives the results that are not there yet,
-- and Lightroom's error if there was one. Has to be called from a task.
function Catalogue.add(catalog, results, settings, seconds, tell)
  mark_present(catalog, results)
  local error_of_adding = write(catalog, select_pending(results, false), seconds, function(result)
    add(catalog, result, tell)
  end)
  read_or_tell(catalog, select_pending(results, true), settings, tell)
  local error_of_copying = write(catalog, select_pending(results, true), seconds, function(result)
    complete(result, tell)
  end)
  local waiting = select_pending(results, true)
  for _, result in ipairs(select_pending(results, false)) do
    table.insert(waiting, result)
  end
  return waiting, error_of_adding or error_of_copying
end

return Catalogue
