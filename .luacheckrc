-- The Lua of the plug-ins: darktable's is 5.4.
std = "lua54"
max_line_length = 120
ignore = {"21./_.*"} -- what is named _like_this is not used
files["plugins/darktable"] = {read_globals = {"darktable_gui_safe"}}
