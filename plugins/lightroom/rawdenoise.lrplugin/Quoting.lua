-- Words to one command line, for the shell that LrTasks.execute hands it to: sh, or Windows' cmd.exe.
--
-- cmd.exe reads a line twice over: it expands %NAME% even inside quotes, then splits at & | < > outside them; the
-- program splits what is left once more, where a backslash before a quote escapes it. `"^%"` closes the quotes for
-- one percent sign, so that no name of a variable can stand between two of them.

local Quoting = {}

-- For sh: everything between single quotes is literal.
function Quoting.sh(word)
  assert(not word:find("%z"), "a word of a command line cannot hold NUL")
  return "'" .. word:gsub("'", [['\'']]) .. "'"
end

local function check(word)
  assert(not word:find('[%z\r\n"]'), "a word of a Windows command line cannot hold quotes and ends of lines")
end

-- For cmd.exe alone: the program, and files of redirections.
function Quoting.cmd_path(path)
  check(path)
  return '"' .. path:gsub("%%", '"^%%"') .. '"'
end

-- For cmd.exe and the program's own splitting. No file of Windows has a quote in its name, and no setting here may.
function Quoting.cmd(word)
  check(word)
  local parts = {}
  for part in (word .. "%"):gmatch("([^%%]*)%%") do
    table.insert(parts, (part:gsub("\\+$", "%0%0"))) -- backslashes before a quote count twice
  end
  return '"' .. table.concat(parts, '"^%"') .. '"'
end

-- `words` with standard input empty, output and errors into files.
function Quoting.line(words, output, errors, is_windows)
  local quote = is_windows and Quoting.cmd or Quoting.sh
  local quote_path = is_windows and Quoting.cmd_path or Quoting.sh
  local quoted = { quote_path(words[1]) }
  for index = 2, #words do
    table.insert(quoted, quote(words[index]))
  end
  local line = string.format(
    "%s <%s >%s 2>%s",
    table.concat(quoted, " "), is_windows and "NUL" or "/dev/null", quote_path(output), quote_path(errors)
  )
  return is_windows and '"' .. line .. '"' or line -- cmd.exe takes the outermost quotes off
end

return Quoting
