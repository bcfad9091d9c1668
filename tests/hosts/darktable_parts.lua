--[[
  Tests the parts of plugins/darktable/rawdenoise.lua that need no darktable: lua5.4 darktable_parts.lua FOLDER SCRATCH
]]

local folder, scratch = arg[1], arg[2]

local function nothing() end

package.preload.darktable = function()
  return {
    configuration = {
      running_os = "linux", has_gui = false, api_version_major = 9, api_version_minor = 0, api_version_patch = 0,
    },
    gettext = {bindtextdomain = nothing, dgettext = function(_domain, text) return text end},
    print = nothing, print_error = nothing,
  }
end

local script = assert(loadfile(folder .. "/rawdenoise.lua"))()
local parts = script.parts
local tests = {}

local function equal(is, should_be, what)
  if is ~= should_be then
    error(string.format("%s: %q, not %q", what or "value", tostring(is), tostring(should_be)), 2)
  end
end

function tests.json_values()
  equal(parts.decode('  {"a": [1, -2.5e3, true, false, null, "x"]} ').a[2], -2500)
  local array = parts.decode("[null, null, 3]")
  equal(#array, 3)
  equal(array[1], parts.NULL)
  equal(next(parts.decode('{"a": null}')), nil)
  equal(parts.decode('{"a": false}').a, false)
  equal(parts.decode("0"), 0)
  equal(parts.decode('""'), "")
  equal(next(parts.decode("{}")), nil)
  equal(#parts.decode("[ ]"), 0)
  equal(parts.decode("[[[]]]")[1][1][1], nil)
  equal(parts.decode('{"a":{"b":{"c":"d"}}}').a.b.c, "d")
end

function tests.json_strings()
  equal(parts.decode([["a\"\\\/\b\f\n\r\t"]]), 'a"\\/\b\f\n\r\t')
  equal(parts.decode([["\u00e9\u5199"]]), "é写")
  equal(parts.decode([["\ud83d\ude00"]]), "😀", "a pair of surrogates")
  equal(parts.decode([["\uD83D\uDE00"]]), "😀", "the same in capitals")
  equal(parts.decode([["caf\udce9"]]), "caf\xe9", "a byte that is no UTF-8")
  equal(parts.decode([["\u0000"]]), "\0")
  equal(parts.decode('"é"'), "é")
end

function tests.json_refused()
  for _index, text in ipairs({
    "", " ", "{", "[", "[1", "[1,", "[1,]", "{,}", '{"a"}', '{"a":}', '{"a":1,}', "{a:1}",
    "01", "-", "1.", ".5", "1e", "+1", "nul", "True", "nulls",
    '"a', '"a\nb"', [["\x"]], [["\u12"]], [["\u12g4"]], [["\ud800"]], [["\ud800\u0041"]],
    "1 2", "{} {}", "'a'", "[1 2]", "NaN", "Infinity", string.rep("[", 1000) .. string.rep("]", 1000),
  }) do
    local value, reason = parts.decode(text)
    equal(value, nil, "value of " .. text:sub(1, 20))
    equal(type(reason), "string", "reason for " .. text:sub(1, 20))
  end
end

-- sh has to give every word to the command as it was.
function tests.quoting_for_sh()
  local words = {
    "a b", "it's", '"', "$HOME", "`date`", "$(date)", "100 %", "a;b", "a&b", "a|b", "<", ">", "*", "?", "~", "#", "!",
    "\\", "\\\\'", "line\nline", "\t", "写真", "-n", "", "a\\", "{x,y}", "[a]", "=",
  }
  local files = {}
  for _index, name in ipairs({"list", "output", "progress", "status", "cancel"}) do
    files[name] = scratch .. "/it's " .. name
  end
  io.open(files.list, "w"):close()
  local all = table.move(words, 1, #words, 3, {"printf", "%s\\0"})
  assert(os.execute(parts.shell_line(all, files)))
  equal(io.open(files.output, "rb"):read("a"), table.concat(words, "\0") .. "\0")
  equal(io.open(files.status):read("n"), 0)
  assert(os.execute(parts.shell_line({"sh", "-c", "echo said >&2; exit 7"}, files)))
  equal(io.open(files.status):read("n"), 7)
  equal(io.open(files.progress):read("a"), "said\n")
end

-- Where the list is gone, so is darktable: the command's files go too.
function tests.an_abandoned_run_leaves_nothing()
  local files = {}
  for _index, name in ipairs({"list", "output", "progress", "status", "cancel"}) do
    files[name] = scratch .. "/abandoned-" .. name
  end
  io.open(files.cancel, "w"):close()
  assert(os.execute(parts.shell_line({"echo", "said"}, files)))
  for name, path in pairs(files) do
    equal(io.open(path), nil, name)
  end
end

function tests.quoting_for_cmd()
  equal(parts.quote_for_cmd("a b"), '"a b"')
  equal(parts.quote_for_cmd("100 %PATH%"), '"100 %%PATH%%"')
  equal(parts.quote_for_cmd("a&b|c;d^e!f(g)"), '"a&b|c;d^e!f(g)"')
  equal(parts.quote_for_cmd("C:\\a b\\"), '"C:\\a b\\\\"', "a backslash before the closing quote")
  equal(parts.quote_for_cmd("C:\\a\\b"), '"C:\\a\\b"')
  equal(parts.quote_for_cmd(""), '""')
  for _index, word in ipairs({'a"b', "a\nb", "a\0b"}) do
    equal(pcall(parts.quote_for_cmd, word), false, "quoted " .. word)
  end
end

function tests.batch_files()
  local files = {
    list = "C:\\L", output = "C:\\O", progress = "C:\\P", status = "C:\\S", cancel = "C:\\C", bat = "C:\\B.bat",
  }
  local text = parts.batch_file({"C:\\Program Files\\rawdenoise.exe", "denoise", "100 %"}, files)
  local line = '"C:\\Program Files\\rawdenoise.exe" "denoise" "100 %%" <nul >"C:\\O" 2>"C:\\P"'
  assert(text:find("\r\n" .. line .. "\r\n", 1, true), text)
  assert(not text:gsub("\r\n", ""):find("[\r\n]"))
  assert(parts.batch_file({"C:\\rawdenoise.cmd"}, files):find('\r\ncall "C:\\rawdenoise.cmd" <nul', 1, true))
  equal(parts.batch_line("C:\\Users\\me\\rawdenoise-1.bat"), "C:\\Users\\me\\rawdenoise-1.bat")
  equal(parts.batch_line("C:\\Users\\a & b\\1.bat"), '""C:\\Users\\a & b\\1.bat""')
end

function tests.words_of_commands()
  local settings = {name = "{stem}_dn", strength = "0.80", bundled = "best", model = "", redo = false}
  equal(
    table.concat(parts.denoise_words(settings), " "),
    "denoise --json --beside --name {stem}_dn --strength 0.80 --bundled best"
  )
  settings.model, settings.redo = "acme-1", true
  equal(
    table.concat(parts.denoise_words(settings), " "),
    "denoise --json --beside --name {stem}_dn --strength 0.80 --model acme-1 --redo"
  )
  local function getenv(set) return function(name) return set[name] end end
  local function wrapped(set) return table.concat(parts.wrap_words({"rawdenoise"}, getenv(set)), " ") end
  equal(wrapped({}), "rawdenoise")
  equal(wrapped({FLATPAK_ID = "org.darktable.Darktable"}), "flatpak-spawn --host rawdenoise")
  equal(wrapped({APPIMAGE = "/a"}), "env -u LD_LIBRARY_PATH -u PYTHONHOME -u PYTHONPATH rawdenoise")
end

function tests.strengths()
  for percent, word in pairs({[0] = "0.00", [5] = "0.05", [79.99999] = "0.80", [100] = "1.00", [50.0] = "0.50"}) do
    equal(parts.strength_word(percent), word)
  end
end

function tests.names_of_results()
  equal(parts.name_of_result("{stem}_dn", "IMG.1.NEF"), "IMG.1_dn")
  equal(parts.name_of_result("{name}-{suffix}", "IMG.NEF"), "IMG.NEF-NEF")
  equal(parts.name_of_result("{stem}%1", "100%.NEF"), "100%%1")
  equal(parts.name_of_result("{stem}_dn", "none"), "none_dn")
end

function tests.lines_of_a_growing_file()
  local path = scratch .. "/growing"
  os.remove(path)
  local lines = parts.follow_lines(path)
  equal(#lines(false), 0, "lines of no file")
  local file = io.open(path, "wb")
  local function write(text) file:write(text) file:flush() end
  write("one\ntw")
  equal(table.concat(lines(false), "|"), "one")
  write("o\r\n\nthr")
  equal(table.concat(lines(false), "|"), "two|")
  equal(#lines(false), 0)
  write("ee")
  equal(table.concat(lines(true), "|"), "three")
  equal(#lines(true), 0)
  file:close()
end

local failed = 0
for name, test in pairs(tests) do
  local fine, problem = xpcall(test, debug.traceback)
  print((fine and "passed " or "FAILED ") .. name .. (fine and "" or ": " .. problem))
  failed = failed + (fine and 0 or 1)
end
os.exit(failed == 0)
