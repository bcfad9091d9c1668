std = "lua51"
max_line_length = 120
include_files = { "rawdenoise.lrplugin/*.lua" }
read_globals = { "import", "LOC", "WIN_ENV", "MAC_ENV", "_PLUGIN" }
