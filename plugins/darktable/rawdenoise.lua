--[[
  rawdenoise.lua - denoise raw pictures, and keep them raw

  Runs the command `rawdenoise` on the raws that are selected in darktable. Each gets a denoised DNG beside it, which is
  taken into the library, grouped with its source, and gets the source's stars, labels, tags, texts and position.

  ADDITIONAL SOFTWARE NEEDED FOR THIS SCRIPT
    rawdenoise (pip install rawdenoise)

  USAGE
    rawdenoise plugins install darktable
  or copy the folder of this file to the folder "lua" of darktable's configuration, and add to the file "luarc" there
    require "rawdenoise/rawdenoise"

  LICENSE
    Apache-2.0
]]

local dt = require "darktable"

local MODULE = "rawdenoise"
local LABEL = "rawdenoise (plug-in)" -- darktable would call a mere "rawdenoise" by the name of its own raw denoise
local RESULT_TAG = "darktable|rawdenoise|denoised" -- tags below "darktable" are not exported
local MINIMUM_API = {9, 0, 0} -- darktable 4.2
local POLL_MS = 200
local MESSAGES_SHOWN = 3 -- of failures; the others are in the log

local WINDOWS = dt.configuration.running_os == "windows"
local SEPARATOR = WINDOWS and "\\" or "/"
local HERE = debug.getinfo(1, "S").source:match("^@(.*)[/\\][^/\\]*$") or "."

dt.gettext.bindtextdomain(MODULE, HERE .. SEPARATOR .. "locale")

local function _(text)
  return dt.gettext.dgettext(MODULE, text)
end

-- The right plural of a text with one "%d" in it.
local function count(singular, plural, number)
  return string.format(dt.gettext.dngettext(MODULE, singular, plural, number), number)
end

local script_data = {}

script_data.metadata = {
  name = "rawdenoise",
  purpose = _("denoise raw pictures with rawdenoise, and keep them raw"),
  author = "rawdenoise",
  help = "https://github.com/rawdenoise/rawdenoise/blob/main/docs/plugins.md"
}

script_data.destroy = nil -- takes the script out; the panel can only be hidden
script_data.destroy_method = nil
script_data.restart = nil
script_data.show = nil

local function api_is_at_least(least)
  local version = dt.configuration
  local is = {version.api_version_major, version.api_version_minor, version.api_version_patch}
  for part = 1, 3 do
    if is[part] ~= least[part] then
      return is[part] > least[part]
    end
  end
  return true
end

-- - - - - - - - - - - - - - - JSON - - - - - - - - - - - - - - --

local NULL = setmetatable({}, {__tostring = function() return "null" end})
local ESCAPES = {
  ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t",
}
local DEEPEST = 100

local function fail(at, what)
  error({json = string.format("%s at byte %d", what, at)}, 0)
end

local function hexadecimal(text, at)
  local digits = text:match("^%x%x%x%x", at)
  return digits and tonumber(digits, 16) or fail(at, "no four hexadecimal digits")
end

-- One \u escape, or two that make one character; a lone U+DC80 to U+DCFF is a byte that was no UTF-8.
local function unicode_escape(text, at)
  local code = hexadecimal(text, at)
  if code >= 0xD800 and code <= 0xDBFF and text:match("^\\u[dD][c-fC-F]%x%x", at + 4) then
    local low = hexadecimal(text, at + 6)
    return utf8.char(0x10000 + (code - 0xD800) * 0x400 + low - 0xDC00), at + 10
  end
  if code >= 0xDC80 and code <= 0xDCFF then
    return string.char(code - 0xDC00), at + 4
  end
  if code >= 0xD800 and code <= 0xDFFF then
    fail(at, "half a character")
  end
  return utf8.char(code), at + 4
end

local function parse_string(text, at)
  local parts = {}
  while true do
    local plain, next_at = text:match('^([^"\\%c]*)()', at)
    parts[#parts + 1] = plain
    local character = text:sub(next_at, next_at)
    if character == '"' then
      return table.concat(parts), next_at + 1
    end
    if character ~= "\\" then
      fail(next_at, "a string does not end")
    end
    local letter = text:sub(next_at + 1, next_at + 1)
    if letter == "u" then
      parts[#parts + 1], at = unicode_escape(text, next_at + 2)
    else
      parts[#parts + 1] = ESCAPES[letter] or fail(next_at, "no such escape")
      at = next_at + 2
    end
  end
end

local function skip_space(text, at)
  return text:match("^[ \t\r\n]*()", at)
end

local function parse_number(text, at)
  local whole, next_at = text:match("^(%-?%d+)()", at)
  if not whole or whole:match("^%-?0%d") then
    fail(at, "no JSON value")
  end
  local fraction_end = text:match("^%.%d+()", next_at) or next_at
  local number_end = text:match("^[eE][+-]?%d+()", fraction_end) or fraction_end
  return tonumber(text:sub(at, number_end - 1)), number_end
end

local parse_value

-- What stands between brackets: `take` reads one element and says where it ends.
local function parse_elements(text, at, closing, take)
  at = skip_space(text, at)
  if text:sub(at, at) == closing then
    return at + 1
  end
  while true do
    at = skip_space(text, take(at))
    local character = text:sub(at, at)
    if character == closing then
      return at + 1
    end
    if character ~= "," then
      fail(at, "no comma")
    end
    at = skip_space(text, at + 1)
  end
end

local function parse_array(text, at, depth)
  local array = {}
  local next_at = parse_elements(text, at, "]", function(element_at)
    local value, value_end = parse_value(text, element_at, depth)
    array[#array + 1] = value
    return value_end
  end)
  return array, next_at
end

local function parse_object(text, at, depth)
  local object = {}
  local next_at = parse_elements(text, at, "}", function(element_at)
    if text:sub(element_at, element_at) ~= '"' then
      fail(element_at, "no name")
    end
    local name, name_end = parse_string(text, element_at + 1)
    local colon_at = skip_space(text, name_end)
    if text:sub(colon_at, colon_at) ~= ":" then
      fail(colon_at, "no colon")
    end
    local value, value_end = parse_value(text, colon_at + 1, depth)
    if value ~= NULL then
      object[name] = value
    end
    return value_end
  end)
  return object, next_at
end

local WORDS = {["true"] = true, ["false"] = false, ["null"] = NULL}

function parse_value(text, at, depth)
  at = skip_space(text, at)
  local character = text:sub(at, at)
  if character == '"' then
    return parse_string(text, at + 1)
  elseif character == "{" or character == "[" then
    if depth >= DEEPEST then
      fail(at, "too deep")
    end
    return (character == "{" and parse_object or parse_array)(text, at + 1, depth + 1)
  end
  local word = text:match("^%l+", at)
  if word and WORDS[word] ~= nil then
    return WORDS[word], at + #word
  end
  return parse_number(text, at)
end

-- The value of a JSON text; nil and the reason where it is none. Objects lack what is null; in arrays it is NULL.
local function decode(text)
  local fine, value, at = pcall(parse_value, text, 1, 0)
  if fine and skip_space(text, at) <= #text then
    fine, value = false, {json = string.format("more than one value at byte %d", at)}
  end
  if fine then
    return value
  end
  if type(value) == "table" and value.json then
    return nil, value.json
  end
  error(value, 0)
end

-- What a line says, as a table; nil for lines that are no JSON objects.
local function decode_record(line)
  if line:sub(1, 1) ~= "{" then
    return nil
  end
  local record = decode(line)
  return type(record) == "table" and record or nil
end

-- - - - - - - - - - - - - - - the command line - - - - - - - - - - - - - - --

local function quote_for_sh(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

-- A word in a batch file: nothing is special within quotes but the percent sign. Quotes and control characters,
-- which cannot be in names of Windows' files, are refused.
local function quote_for_cmd(word)
  if word:find('["%c]') then
    error({told = string.format(_("quotes and control characters cannot be used here: %s"), word)}, 0)
  end
  return '"' .. word:gsub("%%", "%%%%"):gsub("\\+$", "%0%0") .. '"'
end

local function join_words(words, quote)
  local quoted = {}
  for index, word in ipairs(words) do
    quoted[index] = quote(word)
  end
  return table.concat(quoted, " ")
end

-- For sh: the program's streams go to files, its exit code to a file that appears when it has ended. Where darktable is
-- gone by then, and has taken the list with it, nobody else will remove the files.
local function shell_line(words, files)
  local output, progress = quote_for_sh(files.output), quote_for_sh(files.progress)
  return string.format(
    "%s </dev/null >%s 2>%s; code=$?; if [ -e %s ]; then echo $code >%s; else rm -f %s %s %s; fi",
    join_words(words, quote_for_sh), output, progress,
    quote_for_sh(files.list), quote_for_sh(files.status), output, progress, quote_for_sh(files.cancel)
  )
end

-- The same as a batch file in UTF-8: on a line of cmd.exe there is no way to write any name.
local function batch_file(words, files)
  local output, progress = quote_for_cmd(files.output), quote_for_cmd(files.progress)
  local call = words[1]:lower():match("%.bat$") or words[1]:lower():match("%.cmd$")
  local lines = {
    "@echo off",
    "setlocal",
    "for /f \"tokens=2 delims=:\" %%p in ('chcp') do set \"page=%%p\"",
    "chcp 65001 >nul",
    string.format("%s%s <nul >%s 2>%s", call and "call " or "", join_words(words, quote_for_cmd), output, progress),
    "set \"code=%errorlevel%\"",
    "chcp %page% >nul",
    string.format("if exist %s >%s echo %%code%%", quote_for_cmd(files.list), quote_for_cmd(files.status)),
    string.format("if not exist %s del %s %s %s \"%%~f0\"", quote_for_cmd(files.list), output, progress,
      quote_for_cmd(files.cancel)),
  }
  return table.concat(lines, "\r\n") .. "\r\n"
end

-- How cmd.exe is to start a batch file: of four quotes it takes off the outer two.
local function batch_line(path)
  return path:find("^[%w:\\_.~-]+$") and path or '""' .. path .. '""'
end

-- Programs of the host are reached through flatpak-spawn from a Flatpak; an AppImage's libraries are not theirs.
local function wrap_words(words, getenv)
  local wrapper = {}
  if getenv("FLATPAK_ID") then
    wrapper = {"flatpak-spawn", "--host"}
  elseif getenv("APPIMAGE") and not WINDOWS then
    wrapper = {"env", "-u", "LD_LIBRARY_PATH", "-u", "PYTHONHOME", "-u", "PYTHONPATH"}
  end
  return table.move(words, 1, #words, #wrapper + 1, wrapper)
end

-- The options of `rawdenoise denoise` for what was chosen; the list of files comes with every command.
local function denoise_words(settings)
  local words = {"denoise", "--json", "--beside", "--name", settings.name, "--strength", settings.strength}
  if settings.model ~= "" then
    table.move({"--model", settings.model}, 1, 2, #words + 1, words)
  else
    table.move({"--bundled", settings.bundled}, 1, 2, #words + 1, words)
  end
  if settings.redo then
    words[#words + 1] = "--redo"
  end
  return words
end

-- A slider's per cent as the command takes it, whatever the locale's decimal point is.
local function strength_word(percent)
  local whole = math.tointeger(math.floor(percent + 0.5))
  return string.format("%d.%02d", whole // 100, whole % 100)
end

-- - - - - - - - - - - - - - - files - - - - - - - - - - - - - - --

local function write_file(path, content)
  local file, reason = io.open(path, "wb")
  if not file then
    return nil, reason
  end
  local written = file:write(content)
  return file:close() and written, path
end

local function read_file(path)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  local content = file:read("a")
  file:close()
  return content
end

-- A function that returns the lines that a growing file has got since the last call; with `all` also an unended one.
local function follow_lines(path)
  local offset, rest = 0, ""
  return function(all)
    local file = io.open(path, "rb")
    if file then
      file:seek("set", offset)
      local new = file:read("a") or ""
      file:close()
      offset = offset + #new
      rest = rest .. new
    end
    local lines = {}
    local from = 1
    for line, after in rest:gmatch("([^\n]*)\n()") do
      lines[#lines + 1] = line:gsub("\r$", "")
      from = after
    end
    rest = rest:sub(from)
    if all and rest ~= "" then
      lines[#lines + 1], rest = rest, ""
    end
    return lines
  end
end

local runs = 0
local active = {} -- files of the runs that go on

-- Files of one run, in the first of darktable's own folders that can be written to.
local function files_of_run()
  runs = runs + 1
  local token = string.format("%d-%s-%d", os.time(), tostring({}):match("%x+$"), runs)
  for _number, folder in ipairs({dt.configuration.cache_dir, dt.configuration.tmp_dir}) do
    local files = {}
    for _index, name in ipairs({"list", "output", "progress", "status", "cancel", "bat"}) do
      files[name] = string.format("%s%s%s-%s.%s", folder, SEPARATOR, MODULE, token, name)
    end
    if write_file(files.list, "") then
      active[files] = true
      return files
    end
  end
  error({told = string.format(_("cannot write into %s"), dt.configuration.cache_dir)}, 0)
end

-- darktable ends: the command is asked to stop, and removes what is left when it has.
local function abandon_runs()
  for files in pairs(active) do
    write_file(files.cancel, "")
    os.remove(files.list)
  end
end

local function remove_files(files)
  active[files] = nil
  for _name, path in pairs(files) do
    os.remove(path)
  end
end

-- - - - - - - - - - - - - - - messages - - - - - - - - - - - - - - --

local function tell(text)
  dt.print(MODULE .. ": " .. text)
  dt.print_log(MODULE .. ": " .. text)
end

local function tell_error(text)
  if dt.control.ending then
    return
  end
  dt.print(MODULE .. ": " .. text)
  dt.print_error(MODULE .. ": " .. text)
end

-- Call, and make one message of what goes wrong: errors of ours say what to do, others are darktable's.
local function protect(call, ...)
  local fine, problem = pcall(call, ...)
  if not fine then
    tell_error(type(problem) == "table" and problem.told or tostring(problem))
  end
  return fine
end

-- - - - - - - - - - - - - - - running the command - - - - - - - - - - - - - - --

local function preference(name, kind)
  return dt.preferences.read(MODULE, name, kind or "string")
end

-- The command's first words: the preference, else what the installation wrote beside this file, else what PATH has.
local function command_words()
  local chosen = preference("command")
  if chosen ~= "" then
    return {chosen}
  end
  local load = loadfile(HERE .. SEPARATOR .. "command.lua", "t", {})
  local installed = load and load()
  if type(installed) == "table" then
    return table.move(installed, 1, #installed, 1, {})
  end
  return {type(installed) == "string" and installed or MODULE}
end

local function start(words, files)
  if not WINDOWS then
    return shell_line(words, files)
  end
  local batch, reason = write_file(files.bat, batch_file(words, files))
  if not batch then
    error({told = reason}, 0)
  end
  return batch_line(files.bat)
end

-- One line of the command's progress: how far it is, what it says, or how it ended.
local function note_progress(outcome, line, on_progress)
  local record = decode_record(line)
  if not record then
    outcome.last_line = line:match("%S") and line or outcome.last_line
  elseif record.type == "progress" and record.fraction then
    on_progress(record.fraction)
  elseif record.type == "message" and record.level == "error" then
    outcome.errors[#outcome.errors + 1] = record.text
  elseif record.type == "end" then
    outcome.ended = record
  end
end

-- Run the command and wait, without holding darktable up: what it prints is passed on as it comes. Where `stop` says
-- so, or darktable ends, it is asked to stop through its cancel file.
local function run_command(words, paths, on_record, on_progress, stop)
  local files = files_of_run()
  local outcome = {errors = {}}
  local finished = false
  local fine, problem = pcall(function()
    local all = command_words()
    table.move(words, 1, #words, #all + 1, all)
    if paths then
      if not write_file(files.list, table.concat(paths, "\0") .. "\0") then
        error({told = string.format(_("cannot write into %s"), files.list)}, 0)
      end
      local with_list = {"--files-from", files.list, "--null", "--progress", "json", "--cancel-file", files.cancel}
      table.move(with_list, 1, #with_list, #all + 1, all)
    end
    local line = start(wrap_words(all, os.getenv), files)
    dt.print_log(MODULE .. ": " .. line)
    dt.control.dispatch(function()
      pcall(dt.control.execute, line)
      finished = true
    end)
    local output, progress = follow_lines(files.output), follow_lines(files.progress)
    local asked_to_stop = false
    repeat
      dt.control.sleep(POLL_MS)
      local last = finished
      if dt.control.ending then
        abandon_runs()
      elseif not asked_to_stop and stop() then
        asked_to_stop = write_file(files.cancel, "")
      end
      for _index, text in ipairs(progress(last)) do
        note_progress(outcome, text, on_progress)
      end
      for _index, text in ipairs(output(last)) do
        local record = decode_record(text)
        if record then
          on_record(record)
        end
      end
    until last
    outcome.status = tonumber(read_file(files.status) or "")
  end)
  remove_files(files)
  if not fine then
    error(problem, 0)
  end
  return outcome
end

-- What is to be said of a command that did not do its work; nil where it did.
local function failure_of(outcome)
  if outcome.status == 127 or outcome.status == 9009 then
    return string.format(
      _("%s was not found: install rawdenoise, or set its path in preferences > Lua options"), command_words()[1]
    )
  elseif not outcome.ended then
    return string.format(
      _("the command ended unexpectedly (exit code %s): %s"),
      outcome.status or "?", outcome.errors[#outcome.errors] or outcome.last_line or _("it said nothing")
    )
  elseif outcome.ended.exit_code >= 2 and not outcome.ended.interrupted then
    return outcome.errors[#outcome.errors] or string.format(_("exit code %s"), outcome.ended.exit_code)
  end
  return nil
end

-- - - - - - - - - - - - - - - jobs, one after the other - - - - - - - - - - - - - - --

local queue = {}
local running = nil
local working = false

local function close_bar(job)
  if job.bar then
    local bar = job.bar
    job.bar = nil
    if bar.valid then
      bar.valid = false
    end
  end
end

local function run_job(job)
  local paths = job.prepare()
  if #paths > 0 and not job.cancelled then
    local outcome = run_command(job.words, paths, job.on_record, function(fraction)
      if job.bar and job.bar.valid then
        job.bar.percent = math.max(0, math.min(1, fraction))
      end
    end, function() return job.cancelled end)
    job.finish(outcome)
  end
end

local function work()
  while #queue > 0 and not dt.control.ending do
    running = table.remove(queue, 1)
    if not running.cancelled then
      protect(run_job, running)
    end
    close_bar(running)
  end
  running, working = nil, false
end

-- Put a job into the queue; its bar shows at once, and takes it out of the queue again or stops its command.
local function add_job(job)
  job.bar = dt.gui.create_job(MODULE .. ": " .. job.title, true, function()
    job.cancelled = true
  end)
  queue[#queue + 1] = job
  if not working then
    working = true
    dt.control.dispatch(work)
  end
end

-- - - - - - - - - - - - - - - pictures of the library - - - - - - - - - - - - - - --

local NOT_RAW = {}
local NOT_RAW_SUFFIXES = "avif bmp exr gif hdr heic heif hif j2k jp2 jpe jpeg jpg jxl mov mp4 "
  .. "pbm pfm pgm png pnm ppm psd tif tiff webp xcf"
for suffix in NOT_RAW_SUFFIXES:gmatch("%w+") do
  NOT_RAW[suffix] = true
end

local function path_of(image)
  return image.path .. SEPARATOR .. image.filename
end

-- A path as a key: Windows knows two separators, and no difference of case.
local function key_of(path)
  if WINDOWS then
    return path:gsub("/", "\\"):lower()
  end
  return (path:gsub("//+", "/"))
end

local function may_be_raw(image)
  return image.is_raw or not NOT_RAW[(image.filename:match("%.([^.]*)$") or ""):lower()]
end

local function is_result(image)
  for _index, tag in ipairs(dt.tags.get_tags(image)) do
    if tag.name == RESULT_TAG then
      return true
    end
  end
  return false
end

-- The name that a source's result gets by the pattern, without the suffix.
local function name_of_result(pattern, filename)
  local stem, suffix = filename:match("^(.+)%.([^.]*)$")
  local words = {stem = stem or filename, name = filename, suffix = suffix or ""}
  return (pattern:gsub("{(%l+)}", words))
end

-- The capture that a result was made of, as its group tells: the one whose result has its name, else the only one.
local function source_of_result(image, pattern)
  local only, others = nil, 0
  for _index, member in ipairs(image:get_group_members()) do
    if member ~= image and member.duplicate_index == 0 and may_be_raw(member) and not is_result(member) then
      if name_of_result(pattern, member.filename) .. ".dng" == image.filename and member.path == image.path then
        return member
      end
      only, others = member, others + 1
    end
  end
  return others == 1 and only or nil
end

-- The captures to denoise among pictures, each once; and how many were left out or replaced, and why.
local function choose_sources(images, pattern)
  local chosen, order = {}, {}
  local left_out = {not_raw = 0, result = 0, replaced = 0, copy = 0}
  for number, image in ipairs(images) do
    if number % 100 == 0 then
      dt.control.sleep(1) -- lets others have the lock
    end
    if not may_be_raw(image) then
      left_out.not_raw, image = left_out.not_raw + 1, nil
    elseif is_result(image) then
      image = source_of_result(image, pattern)
      local what = image and "replaced" or "result"
      left_out[what] = left_out[what] + 1
    end
    if image then
      local path = path_of(image)
      local key = key_of(path)
      if not chosen[key] then
        chosen[key] = {image = image, path = path}
        order[#order + 1] = chosen[key]
      else
        left_out.copy = left_out.copy + 1
        if image.duplicate_index < chosen[key].image.duplicate_index then
          chosen[key].image = image
        end
      end
    end
  end
  return order, chosen, left_out
end

-- A list of what there is any of, and what adds to it.
local function new_counts()
  local parts = {}
  return parts, function(number, singular, plural)
    if number > 0 then
      parts[#parts + 1] = count(singular, plural, number)
    end
  end
end

local function tell_left_out(left_out)
  local parts, add = new_counts()
  add(left_out.not_raw, "%d picture is not raw", "%d pictures are not raw")
  add(left_out.result, "%d picture is denoised already", "%d pictures are denoised already")
  add(left_out.replaced, "%d denoised picture stands for its source", "%d denoised pictures stand for their sources")
  add(left_out.copy, "%d picture is of a file that is taken anyway", "%d pictures are of files that are taken anyway")
  if #parts > 0 then
    tell(table.concat(parts, ", "))
  end
end

-- - - - - - - - - - - - - - - results into the library - - - - - - - - - - - - - - --

local COPIED = {
  "rating", "red", "yellow", "green", "blue", "purple",
  "title", "description", "creator", "publisher", "rights", "notes", "version_name",
  "latitude", "longitude", "elevation", "exif_datetime_taken",
}

-- Steps of the development that do not go with a result: its levels may be others, and its noise is gone.
local NOT_DEVELOPED = {
  rawprepare = true, hotpixels = true, rawdenoise = true, denoiseprofile = true, nlmeans = true, bilateral = true,
}

-- Do one of several things that are each worth having without the others; what fails is in the log.
local function try(what, call, ...)
  local fine, problem = pcall(call, ...)
  if not fine then
    dt.print_log(string.format("%s: %s: %s", MODULE, what, tostring(problem)))
  end
end

local function copy_fields(source, result)
  for _index, field in ipairs(COPIED) do
    try(field, function()
      local value = source[field]
      if value ~= nil and value ~= "" and value ~= result[field] then
        result[field] = value
      end
    end)
  end
  for _index, tag in ipairs(dt.tags.get_tags(source)) do
    if not tag.name:find("^darktable|") then
      try(tag.name, dt.tags.attach, tag, result)
    end
  end
end

-- The last step of each module of a development, of those that go with a result. Items of a style are steps, and say
-- the module and its instance, as in "exposure 1".
local function choose_steps(style)
  local last = {}
  for index = 1, #style do
    local item = style[index]
    if not NOT_DEVELOPED[item.name:match("^%w+")] and (not last[item.name] or last[item.name].num < item.num) then
      last[item.name] = item
    end
  end
  local steps = {}
  for _name, item in pairs(last) do
    steps[#steps + 1] = item
  end
  return steps
end

local function find_style(name)
  for index = 1, #dt.styles do
    if dt.styles[index].name == name then
      return dt.styles[index]
    end
  end
  return nil
end

-- A style carries the development over; darktable's own way to copy and paste needs the user's selection.
local function copy_development(source, result)
  local whole_name = string.format("%s %d", MODULE, source.id)
  local part_name = whole_name .. " steps"
  local whole = dt.styles.create(source, whole_name, "")
  local steps = choose_steps(whole)
  if #steps > 0 then
    dt.styles.duplicate(whole, part_name, "", steps)
    local part = find_style(part_name)
    dt.styles.apply(part, result)
    dt.styles.delete(part)
  end
  dt.styles.delete(whole)
end

local function find_in_group(source, path)
  local key = key_of(path)
  for _index, member in ipairs(source:get_group_members()) do
    if key_of(path_of(member)) == key then
      return member
    end
  end
  return nil
end

-- Take a result into the library, unless it is there; what the user has done to one that is there stays.
local function take_result(source, path, is_new)
  local grouped = find_in_group(source, path)
  if grouped then
    if is_new then
      grouped:drop_cache() -- its thumbnail is of the former result
    end
    return
  end
  local before = #dt.database
  local result = dt.database.import(path)
  if #dt.database > before then
    copy_fields(source, result)
    if preference("copy_development", "bool") and source.is_altered then
      try("development", copy_development, source, result)
    end
  end
  try("tag", function() dt.tags.attach(dt.tags.create(RESULT_TAG), result) end)
  result:group_with(source)
  if preference("lead", "bool") then
    result:make_group_leader()
  end
end

-- - - - - - - - - - - - - - - the three actions - - - - - - - - - - - - - - --

local widgets = {} -- those of the panel, once there is one
local models = {} -- their ids, in the order of the panel's list below its first entry
local filled = false -- the panel's list of models can be chosen from; before, what it says is no choice

-- What the panel was last set to: the preferences remember it.
local function remembered(name, default)
  local value = preference(name)
  return value ~= "" and value or default
end

local function settings_now()
  if widgets.strength then
    dt.preferences.write(MODULE, "strength", "string", tostring(widgets.strength.value))
  end
  local name = preference("name")
  return {
    name = name ~= "" and name or "{stem}_dn",
    strength = strength_word(tonumber(remembered("strength", "100")) or 100),
    bundled = remembered("bundled", "fast"),
    model = remembered("model", ""),
    redo = preference("redo", "bool"),
  }
end

local function new_tally()
  return {done = 0, skipped = 0, other_settings = 0, failed = 0}
end

local function note_result(tally, chosen, record)
  local entry = chosen[key_of(record.source)]
  if record.status == "failed" then
    tally.failed = tally.failed + 1
    local text = string.format("%s: %s", record.source:match("[^/\\]*$"), record.reason or "?")
    if tally.failed <= MESSAGES_SHOWN then
      tell_error(text)
    else
      dt.print_error(MODULE .. ": " .. text)
    end
  elseif record.status == "done" or record.status == "skipped" then
    tally[record.status] = tally[record.status] + 1
    if record.standing == "other recipe" and record.status == "skipped" then
      tally.other_settings = tally.other_settings + 1
    elseif record.status == "skipped" and not record.output then
      tally.reason = record.reason
    end
    if not entry then
      dt.print_error(string.format("%s: no picture is known of %s", MODULE, record.source))
    elseif record.output then
      protect(take_result, entry.image, record.output, record.status == "done")
    end
  end
end

local function tell_tally(tally, outcome)
  local parts, add = new_counts()
  add(tally.done, "%d picture denoised", "%d pictures denoised")
  add(tally.skipped, "%d skipped", "%d skipped")
  add(tally.other_settings, "%d of them made with other settings", "%d of them made with other settings")
  add(tally.failed, "%d failed", "%d failed")
  if outcome.ended and outcome.ended.interrupted then
    parts[#parts + 1] = _("stopped")
  end
  if tally.reason then
    parts[#parts + 1] = tally.reason
  end
  if #parts > 0 then
    tell(table.concat(parts, ", "))
  end
end

local function nothing_selected(images)
  if #images == 0 then
    tell(_("select pictures first"))
  end
  return #images == 0
end

-- The paths of the captures among pictures, and by key what is known of each.
local function choose_paths(images, pattern)
  local order, chosen, left_out = choose_sources(images, pattern)
  tell_left_out(left_out)
  local paths = {}
  for index, entry in ipairs(order) do
    paths[index] = entry.path
  end
  return paths, chosen
end

local function denoise(images)
  if nothing_selected(images) then
    return
  end
  local settings = settings_now()
  local tally, chosen = new_tally(), nil
  add_job({
    title = count("denoise %d picture", "denoise %d pictures", #images),
    words = denoise_words(settings),
    prepare = function()
      local paths
      paths, chosen = choose_paths(images, settings.name)
      return paths
    end,
    on_record = function(record)
      if record.type == "result" then
        note_result(tally, chosen, record)
      end
    end,
    finish = function(outcome)
      local failure = failure_of(outcome)
      if failure then
        tell_error(failure)
      end
      tell_tally(tally, outcome)
    end,
  })
end

-- A job that learns of all selected captures, and says one line for each camera.
local function learn(images, title, command, describe, after)
  if nothing_selected(images) then
    return
  end
  local lines = 0
  add_job({
    title = title,
    words = {command, "--json"},
    prepare = function()
      return (choose_paths(images, settings_now().name))
    end,
    on_record = function(record)
      local text = describe(record)
      if text then
        lines = lines + 1
        tell(text)
      end
    end,
    finish = function(outcome)
      local nothing_said = lines == 0 and outcome.ended and outcome.ended.exit_code > 0
      local failure = failure_of(outcome) or nothing_said and outcome.errors[#outcome.errors]
      if outcome.ended and outcome.ended.interrupted then
        tell(command == "train" and _("stopped; the same again goes on from there") or _("stopped"))
      elseif failure then
        tell_error(failure)
      end
      after()
    end,
  })
end

local function describe_training(record)
  if record.type ~= "training" then
    return nil
  elseif record.outcome == "kept" then
    return string.format(
      _("%s has its own model now: %s gains %.1f dB"), record.camera or "?", record.model or "?", record.gain_db or 0
    )
  end
  return string.format("%s: %s", record.camera or "?", record.reason or record.outcome or "?")
end

local function describe_calibration(record)
  if record.type ~= "calibration" then
    return nil
  elseif record.profile then
    return string.format(_("the noise of %s is calibrated"), record.camera or "?")
  end
  return string.format("%s: %s", record.camera or "?", record.reason or "?")
end

local function camera_of(model)
  local camera = model.camera
  if type(camera) == "table" then
    return string.format("%s %s", camera.make or "", camera.model or ""):match("^%s*(.-)%s*$")
  end
  return camera
end

local function fill_models(ids, labels)
  local box = widgets.model
  local chosen = remembered("model", "")
  local selected = 1
  models, filled = ids, false
  for index, label in ipairs(labels) do
    box[index + 1] = label
    selected = ids[index] == chosen and index + 1 or selected
  end
  for index = #box, #labels + 2, -1 do
    box[index] = nil
  end
  box.selected = selected
  dt.preferences.write(MODULE, "model", "string", ids[selected - 1] or "")
  filled = true
end

-- The list of models, from the command in the background; the chosen one stays chosen.
local function refresh_models()
  local ids, labels = {}, {}
  local outcome = run_command({"models", "list", "--json"}, nil, function(record)
    if record.id then
      local camera = camera_of(record)
      ids[#ids + 1] = record.id
      labels[#labels + 1] = camera and string.format("%s (%s)", record.id, camera) or record.id
    end
  end, function() end, function() return false end)
  if outcome.status == 0 then
    fill_models(ids, labels)
  else
    dt.print_log(MODULE .. ": " .. failure_of(outcome))
  end
end

local function refresh_models_later()
  if widgets.model then
    dt.control.dispatch(function() protect(refresh_models) end)
  end
end

local function train(images)
  learn(images, _("train this camera's model"), "train", describe_training, refresh_models_later)
end

local function calibrate(images)
  learn(images, _("calibrate this camera's noise"), "calibrate", describe_calibration, function() end)
end

-- - - - - - - - - - - - - - - the panel - - - - - - - - - - - - - - --

local SIZES = {"fast", "best"}

local ACTIONS = {
  {
    name = "denoise", run = denoise, label = _("denoise raw"),
    tooltip = _("denoise the selected raws: each gets a denoised DNG beside it, grouped with it"),
  },
  {
    name = "train", run = train, label = _("train this camera's model"),
    tooltip = _("train a model of the camera's own on the selected captures: ten or twenty noisy ones are enough"),
  },
  {
    name = "calibrate", run = calibrate, label = _("calibrate this camera's noise"),
    tooltip = _("measure the camera's noise on the selected darks and flats, or ordinary captures of one ISO"),
  },
}

local function reset_panel()
  widgets.strength.value = 100
  widgets.bundled.selected = 1
  widgets.redo.value = false
  dt.preferences.write(MODULE, "redo", "bool", false)
  dt.preferences.write(MODULE, "model", "string", "")
  refresh_models_later()
end

local function make_settings()
  widgets.strength = dt.new_widget("slider") {
    label = _("strength"), tooltip = _("how much of the noise to take away, in per cent"),
  }
  -- One after the other: what stands in a table is set in any order, and a value within whatever limits there are then.
  for _index, setting in ipairs({
    {"hard_min", 0}, {"hard_max", 100}, {"soft_min", 0}, {"soft_max", 100}, {"step", 5}, {"digits", 0},
    {"value", tonumber(remembered("strength", "100")) or 100},
  }) do
    widgets.strength[setting[1]] = setting[2]
  end
  widgets.bundled = dt.new_widget("combobox") {
    label = _("quality"), tooltip = _("which bundled model serves cameras without a model of their own"),
    changed_callback = function(box)
      dt.preferences.write(MODULE, "bundled", "string", SIZES[box.selected] or "fast")
    end,
    selected = remembered("bundled", "fast") == "best" and 2 or 1,
    _("fast"), _("best (two to three times slower)"),
  }
  widgets.model = dt.new_widget("combobox") {
    label = _("model"), tooltip = _("each camera's own model where there is one, or one model for all pictures"),
    changed_callback = function(box)
      if filled then
        dt.preferences.write(MODULE, "model", "string", models[box.selected - 1] or "")
      end
    end,
    selected = 1, _("automatic"),
  }
  widgets.redo = dt.new_widget("check_button") {
    label = _("make anew what has other settings"),
    tooltip = _("pictures that were denoised with other settings or another model are denoised again"),
    value = preference("redo", "bool"),
    clicked_callback = function(button)
      dt.preferences.write(MODULE, "redo", "bool", button.value)
    end,
  }
end

local function make_panel()
  make_settings()
  local box = {orientation = "vertical", reset_callback = reset_panel}
  for _index, name in ipairs({"strength", "bundled", "model", "redo"}) do
    box[#box + 1] = widgets[name]
  end
  for _index, action in ipairs(ACTIONS) do
    box[#box + 1] = dt.new_widget("button") {
      label = action.label, tooltip = action.tooltip,
      clicked_callback = function() protect(action.run, dt.gui.action_images) end,
    }
  end
  return dt.new_widget("box")(box)
end

local panel_is_there, panel_waits = false, false

local function add_panel()
  if panel_is_there then
    dt.gui.libs[MODULE].visible = true
    return
  end
  panel_is_there = true
  local place = {[dt.gui.views.lighttable] = {"DT_UI_CONTAINER_PANEL_RIGHT_CENTER", 105}}
  dt.register_lib(MODULE, LABEL, true, true, place, make_panel(), nil, nil)
  refresh_models_later()
end

-- The panel is added in the lighttable, once darktable says (from 5.2 on) that its interface stands.
local function add_panel_when_possible()
  if dt.gui.current_view().id == "lighttable" and darktable_gui_safe ~= false then
    add_panel()
  elseif not panel_waits then
    panel_waits = true
    dt.register_event(MODULE, "view-changed", function(_event, _old_view, new_view)
      if new_view.id == "lighttable" and not panel_is_there then
        add_panel()
      end
    end)
  end
end

-- - - - - - - - - - - - - - - registration - - - - - - - - - - - - - - --

local preferences_are_there = false

local function register_preferences()
  if preferences_are_there then
    return
  end
  preferences_are_there = true
  dt.preferences.register(
    MODULE, "command", "string", _("rawdenoise: path of the program"),
    _("empty: the one that installed this script, or else what is found on PATH"), ""
  )
  dt.preferences.register(
    MODULE, "name", "string", _("rawdenoise: names of results"),
    _("{stem} is IMG, {name} IMG.NEF, {suffix} NEF; .dng is added"), "{stem}_dn"
  )
  dt.preferences.register(
    MODULE, "copy_development", "bool", _("rawdenoise: copy the development"),
    _("results get the edits of their sources, without masks, denoising and raw black and white point"), true
  )
  dt.preferences.register(
    MODULE, "lead", "bool", _("rawdenoise: results lead their groups"),
    _("a collapsed group shows the denoised picture"), true
  )
end

local function register_shortcuts()
  for _index, action in ipairs(ACTIONS) do
    dt.register_event(MODULE .. "_" .. action.name, "shortcut", function()
      protect(action.run, dt.gui.action_images)
    end, MODULE .. ": " .. action.label)
  end
end

local function register_actions()
  for _index, action in ipairs(ACTIONS) do
    dt.gui.libs.image.register_action(MODULE .. "_" .. action.name, action.label, function(_event, images)
      protect(action.run, images)
    end, action.tooltip)
  end
end

-- What makes widgets waits until darktable's main loop runs: before, darktable now and then locks itself for ever.
-- Nothing says whether it runs; but a thread that has slept so often has let the main thread go on as often.
local function when_interface_runs(call)
  dt.control.dispatch(function()
    for _turn = 1, 20 do
      dt.control.sleep(50)
    end
    protect(call)
  end)
end

local function stop_all()
  for _index, job in ipairs(queue) do
    job.cancelled = true
  end
  if running then
    running.cancelled = true
  end
end

local function destroy()
  stop_all()
  for _index, action in ipairs(ACTIONS) do
    dt.gui.libs.image.destroy_action(MODULE .. "_" .. action.name)
    dt.destroy_event(MODULE .. "_" .. action.name, "shortcut")
  end
  if panel_is_there then
    dt.gui.libs[MODULE].visible = false
  end
end

local function restart()
  register_shortcuts()
  when_interface_runs(function()
    register_preferences()
    register_actions()
    add_panel_when_possible()
  end)
end

script_data.destroy = destroy
script_data.destroy_method = "hide"
script_data.restart = restart
script_data.show = add_panel_when_possible

-- For the tests, which call them without darktable.
script_data.parts = {
  decode = decode, NULL = NULL, quote_for_sh = quote_for_sh, quote_for_cmd = quote_for_cmd, shell_line = shell_line,
  batch_file = batch_file, batch_line = batch_line, wrap_words = wrap_words, denoise_words = denoise_words,
  strength_word = strength_word, follow_lines = follow_lines, name_of_result = name_of_result,
}

if not api_is_at_least(MINIMUM_API) then
  dt.print_error(MODULE .. ": needs darktable 4.2 or newer (Lua API 9.0.0)")
  dt.print(_("rawdenoise needs darktable 4.2 or newer"))
elseif dt.configuration.has_gui then
  dt.register_event(MODULE, "exit", abandon_runs)
  restart()
end

return script_data
