-- One run at a time, in a task of its own.

local LrApplication = import "LrApplication"
local LrDialogs = import "LrDialogs"
local LrFunctionContext = import "LrFunctionContext"

local Preferences = require "Preferences"
local Reports = require "Reports"
local Selection = require "Selection"

local Runs = {}

local is_busy = false

local function select_originals(catalog, settings)
  if not catalog:getTargetPhoto() then
    Reports.show(LOC "$$$/rawdenoise/Run/NothingSelected=select photos first", {}, "warning")
    return {}, {}
  end
  local originals, left = Selection.sort(catalog, catalog:getTargetPhotos(), settings.pattern)
  if #originals == 0 then
    local summary = LOC "$$$/rawdenoise/Run/NoOriginals=there are no original raws among the selected photos"
    Reports.show(summary, Reports.group(left), "warning")
  end
  return originals, left
end

-- Call `body(context, catalog, settings, originals, left)` for the selected photos, unless a run is under way.
function Runs.start(body)
  LrFunctionContext.postAsyncTaskWithContext("rawdenoise", function(context)
    LrDialogs.attachErrorDialogToFunctionContext(context)
    if is_busy then
      local summary = LOC "$$$/rawdenoise/Run/Busy=still at work; wait for its end, or cancel it, then start again"
      Reports.show(summary, {}, "warning")
      return
    end
    is_busy = true
    context:addCleanupHandler(function()
      is_busy = false
    end)
    local catalog, settings = LrApplication.activeCatalog(), Preferences.read()
    local originals, left = select_originals(catalog, settings)
    if #originals > 0 then
      body(context, catalog, settings, originals, left)
    end
  end)
end

-- The paths of originals.
function Runs.paths(originals)
  local paths = {}
  for _, original in ipairs(originals) do
    table.insert(paths, original.path)
  end
  return paths
end

local function describe_stage(record)
  if record.file then
    return Selection.leaf(record.file)
  elseif record.stage == "start" then
    return LOC "$$$/rawdenoise/Run/Starting=Starting rawdenoise"
  elseif record.stage == "read" then
    return LOC "$$$/rawdenoise/Run/Reading=Reading captures"
  elseif record.stage == "train" then
    return LOC "$$$/rawdenoise/Run/Training=Learning the camera's noise"
  end
  return nil
end

-- Show how far the command is, as its progress records say it.
function Runs.show_progress(progress, record)
  if record.fraction then
    progress:setPortionComplete(record.fraction, 1)
  end
  local caption = describe_stage(record)
  if not caption then
    return
  end
  if record.files and record.files > 1 and record.files_done then
    caption = LOC("$$$/rawdenoise/Run/Caption=^1 (^2 of ^3 done)", caption, record.files_done, record.files)
  end
  local seconds = record.seconds_left
  if seconds and seconds >= 90 then
    caption = LOC("$$$/rawdenoise/Run/MinutesLeft=^1, ^2 minutes left", caption, math.ceil(seconds / 60))
  end
  progress:setCaption(caption)
end

return Runs
