-- Menu item: denoise the selected photos.

local LrProgressScope = import "LrProgressScope"
local LrTasks = import "LrTasks"

local Catalogue = require "Catalogue"
local Job = require "Job"
local Reports = require "Reports"
local Runs = require "Runs"
local Selection = require "Selection"

local RESULTS_IN_A_BATCH = 20
local SECONDS_WHILE_RUNNING = 5
local SECONDS_AT_THE_END = 30
local TRIES_AT_THE_END = 4

local function key_of(path)
  return WIN_ENV and path:gsub("/", "\\"):lower() or path
end

local function by_path(originals)
  local photos = {}
  for _, original in ipairs(originals) do
    photos[key_of(original.path)] = original.photo
  end
  return photos
end

local function tell(batch, path, reason)
  table.insert(batch.entries, { name = Selection.leaf(path), reason = Reports.without_path(reason, path) })
end

-- A record of the command's output: counted, and kept for the catalogue where there is a file.
local function take(batch, record)
  if record.type ~= "result" or type(record.source) ~= "string" then
    return
  end
  local key = key_of(record.source)
  local photo = batch.photos[key]
  if not photo or batch.answered[key] then
    return
  end
  batch.answered[key] = true
  batch.counts[record.status] = (batch.counts[record.status] or 0) + 1
  if record.output and (record.status == "done" or record.status == "skipped") then
    table.insert(batch.waiting, { photo = photo, output = record.output })
  elseif record.reason then
    tell(batch, record.source, record.reason)
  end
  if record.status == "skipped" and record.output and record.reason ~= record.output .. " exists" then
    tell(batch, record.output, record.reason or "") -- as made with other settings, which should not go unsaid
  end
end

local function add_some(batch, seconds)
  local now, later = {}, {}
  for index, result in ipairs(batch.waiting) do
    table.insert(index <= RESULTS_IN_A_BATCH and now or later, result)
  end
  if #now == 0 then
    return
  end
  local left_over, problem = Catalogue.add(batch.catalog, now, batch.settings, seconds, function(result, reason)
    tell(batch, result.output, reason)
  end)
  batch.is_refused, batch.problem = #left_over == #now, problem
  for _, result in ipairs(left_over) do
    table.insert(later, result)
  end
  batch.waiting = later
end

local function add_the_rest(batch)
  local tries = TRIES_AT_THE_END
  while #batch.waiting > 0 and tries > 0 do
    add_some(batch, SECONDS_AT_THE_END)
    tries = batch.is_refused and tries - 1 or tries
    LrTasks.yield()
  end
  for _, result in ipairs(batch.waiting) do
    tell(batch, result.output, batch.problem
      or LOC "$$$/rawdenoise/Denoise/CatalogueBusy=Lightroom had no time to add it; denoise the photo again to add it")
  end
end

local function find_unanswered(batch, originals)
  local unanswered = {}
  for _, original in ipairs(originals) do
    if not batch.answered[key_of(original.path)] then
      table.insert(unanswered, original)
    end
  end
  return unanswered
end

local function summarize(batch, unanswered, outcome)
  local parts = { LOC("$$$/rawdenoise/Denoise/Done=^1 denoised", batch.counts.done or 0) }
  if batch.counts.skipped then
    table.insert(parts, LOC("$$$/rawdenoise/Denoise/Skipped=^1 skipped", batch.counts.skipped))
  end
  local failed = (batch.counts.failed or 0) + (outcome.is_cancelled and 0 or unanswered)
  if failed > 0 then
    table.insert(parts, LOC("$$$/rawdenoise/Denoise/Failed=^1 failed", failed))
  end
  if outcome.is_cancelled and unanswered > 0 then
    table.insert(parts, LOC("$$$/rawdenoise/Denoise/Cancelled=^1 cancelled", unanswered))
  end
  return table.concat(parts, ", "), failed
end

local function report(batch, originals, left, outcome)
  local unanswered = find_unanswered(batch, originals)
  if not outcome.is_cancelled then
    for _, original in ipairs(unanswered) do
      tell(batch, original.path,
        outcome.error or LOC "$$$/rawdenoise/Denoise/NoAnswer=the command ended before it came to this photo")
    end
  end
  local summary, failed = summarize(batch, #unanswered, outcome)
  local lines = Reports.group(batch.entries)
  Reports.close(summary, lines, left, outcome, failed > 0 and "warning" or "info")
end

local function make_progress(context, count)
  local title = count == 1 and LOC "$$$/rawdenoise/Denoise/TitleOne=Denoising one photo"
    or LOC("$$$/rawdenoise/Denoise/Title=Denoising ^1 photos", count)
  local progress = LrProgressScope({ title = title, functionContext = context })
  progress:setCancelable(true)
  return progress
end

Runs.start(function(context, catalog, settings, originals, left)
  local batch = {
    catalog = catalog, settings = settings, photos = by_path(originals),
    answered = {}, counts = {}, entries = {}, waiting = {},
  }
  local progress = make_progress(context, #originals)
  local outcome = Job.run(context, {
    command = "denoise", settings = settings, files = Runs.paths(originals), progress = progress,
    on_record = function(record) take(batch, record) end,
    on_progress = function(record) Runs.show_progress(progress, record) end,
    on_look = function() add_some(batch, SECONDS_WHILE_RUNNING) end,
  })
  add_the_rest(batch)
  progress:done()
  report(batch, originals, left, outcome)
end)
