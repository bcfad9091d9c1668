-- Menu item: measure the noise of the camera of the selected photos.

local Learning = require "Learning"

local function describe(record)
  local camera = tostring(record.camera)
  if record.profile then
    local isos = type(record.isos) == "table" and table.concat(record.isos, ", ") or ""
    return LOC("$$$/rawdenoise/Calibrate/Kept=^1: its noise is known at ISO ^2", camera, isos), false
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
