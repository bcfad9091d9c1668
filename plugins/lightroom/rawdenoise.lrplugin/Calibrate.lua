-- Menu item: measure the noise of the camera of the selected photos.

local Learning = require "Learning"

local function list(isos)
  local numbers = {}
  for _, iso in ipairs(isos or {}) do
    table.insert(numbers, type(iso) == "number" and string.format("%d", iso) or "?") -- not every file says its ISO
  end
  return table.concat(numbers, ", ")
end

local function describe(record)
  local camera = tostring(record.camera)
  if record.profile then
    return LOC("$$$/rawdenoise/Calibrate/Kept=^1: its noise is known at ISO ^2", camera, list(record.isos)), false
  end
  return camera .. ": " .. tostring(record.reason), true
end

Learning.start({
  command = "calibrate",
  record = "calibration",
  title = LOC "$$$/rawdenoise/Calibrate/Title=Measuring this camera's noise",
  done = LOC "$$$/rawdenoise/Calibrate/Done=the camera's noise is measured",
  failed = LOC "$$$/rawdenoise/Calibrate/Failed=the camera's noise could not be measured",
  cancelled = LOC "$$$/rawdenoise/Calibrate/Cancelled=the measurement was stopped",
  describe = describe,
})
