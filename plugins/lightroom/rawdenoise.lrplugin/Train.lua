-- Menu item: train a model for the camera of the selected photos.

local Learning = require "Learning"

local function describe(record)
  local camera = tostring(record.camera)
  if record.model then
    local gain = string.format("%+.1f dB", record.gain_db or 0)
    return LOC("$$$/rawdenoise/Train/Kept=^1: its own model is ready (^2 on captures held out)", camera, gain), false
  end
  return camera .. ": " .. tostring(record.reason), record.exit_code ~= 0
end

Learning.start({
  command = "train",
  record = "training",
  title = LOC "$$$/rawdenoise/Train/Title=Training this camera's model",
  done = LOC "$$$/rawdenoise/Train/Done=the training has ended",
  failed = LOC "$$$/rawdenoise/Train/Failed=there is no new model",
  cancelled = LOC "$$$/rawdenoise/Train/Cancelled=the training was stopped; the same selection goes on from there",
  describe = describe,
})
