-- One run of the command: started, followed while it writes, cancelled, cleared away.

local LrFileUtils = import "LrFileUtils"
local LrPathUtils = import "LrPathUtils"
local LrTasks = import "LrTasks"

local Commands = require "Commands"
local Json = require "Json"
local Lines = require "Lines"
local Quoting = require "Quoting"
local Scratch = require "Scratch"

local Job = {}

local SECONDS_BETWEEN_LOOKS = 0.2

local current -- the job that runs now; there is never a second one

local function cancel(job)
  if not job.is_cancelled then
    job.is_cancelled = Scratch.write(job.cancel_file, "")
  end
end

-- Ask the command that runs now to stop, without waiting for it.
function Job.cancel_current()
  if current then
    cancel(current)
  end
end

local function prepare(order)
  local folder = Scratch.make()
  if not folder then
    return nil
  end
  local job = {
    folder = folder,
    cancel_file = LrPathUtils.child(folder, "cancel"),
    output = LrPathUtils.child(folder, "output"),
    errors = LrPathUtils.child(folder, "errors"),
    heard = { files = {} },
  }
  local list = LrPathUtils.child(folder, "list")
  local words = Commands.words(order.command, order.settings, list, job.cancel_file)
  job.line = Quoting.line(words, job.output, job.errors, WIN_ENV)
  if Scratch.write(list, table.concat(order.files, "\0") .. "\0") then
    return job
  end
  LrFileUtils.delete(folder)
  return nil
end

-- Runs in a task of its own, as LrTasks.execute holds up the task that calls it. The folder goes when all is read.
local function execute(job)
  local ok, status = LrTasks.pcall(LrTasks.execute, job.line)
  job.status = ok and (status > 255 and math.floor(status / 256) or status) or -1 -- macOS gives wait's status
  job.is_ended = true
  while not job.is_read do
    LrTasks.sleep(SECONDS_BETWEEN_LOOKS)
  end
  LrFileUtils.delete(job.folder)
  if current == job then
    current = nil
  end
end

local function hear_error(job, order, line)
  local record = Json.decode(line)
  if type(record) ~= "table" then
    if line:find("%S") then
      job.heard.other = line -- a shell's or a library's word: told only if there is no better one
    end
  elseif record.type == "progress" then
    if not job.is_cancelled then -- the bar says that it stops
      order.on_progress(record)
    end
  elseif record.type == "message" and record.level == "error" then
    if record.file then
      table.insert(job.heard.files, record)
    else
      job.heard.error = record.text
    end
  elseif record.type == "end" then
    job.heard.ending = record
  end
end

local function listen(job, order, outputs, errors)
  for _, line in ipairs(errors()) do
    hear_error(job, order, line)
  end
  for _, line in ipairs(outputs()) do
    local record = Json.decode(line)
    if type(record) == "table" and record.type then
      order.on_record(record)
    end
  end
end

local function follow(job, order)
  local outputs, errors = Lines.follow(job.output), Lines.follow(job.errors)
  repeat
    LrTasks.sleep(SECONDS_BETWEEN_LOOKS)
    if order.progress:isCanceled() and not job.is_cancelled then
      cancel(job)
      order.progress:setCaption(LOC "$$$/rawdenoise/Run/Stopping=Stopping...")
    end
    local is_ended = job.is_ended -- before the last look, so that nothing is missed
    listen(job, order, outputs, errors)
    order.on_look()
  until is_ended
end

local function describe_end(job)
  local ending = job.heard.ending
  if ending and not job.heard.error then
    return nil
  elseif not ending and not job.is_cancelled then
    return job.heard.error or job.heard.other
      or LOC("$$$/rawdenoise/Job/Ended=The command ended with status ^1 and said nothing.", job.status)
  end
  return job.heard.error
end

-- Run `order.command` on `order.files`; ends when the command has ended.
--
-- `on_record` gets each object of its standard output, `on_progress` its progress, `on_look` is called between
-- looks. Gives a table: `is_cancelled`; `is_whole`, whether the command said its end; `error`, its word on the whole
-- run or nil; `file_errors`, its messages on single files.
function Job.run(context, order)
  local job = prepare(order)
  if not job then
    return { error = LOC "$$$/rawdenoise/Job/NoScratch=No temporary folder could be written.", file_errors = {} }
  end
  current = job
  context:addCleanupHandler(function()
    if not job.is_ended then
      cancel(job)
    end
    job.is_read = true
  end)
  LrTasks.startAsyncTask(function()
    execute(job)
  end, "rawdenoise command")
  follow(job, order)
  job.is_read = true
  return {
    is_cancelled = job.is_cancelled, is_whole = job.heard.ending ~= nil, error = describe_end(job),
    file_errors = job.heard.files,
  }
end

return Job
