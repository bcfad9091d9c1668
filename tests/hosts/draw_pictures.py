"""Draw the pictures of docs/plugins.md: `python tests/hosts/draw_pictures.py`.

Needs darktable, ImageMagick and xdotool. They show simulated captures of drawn scenes: the panel of the
plug-in, and results in the lighttable.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from darktable_host import Darktable, lua_string, write_capture

DOCS = Path(__file__).parents[2] / "docs"
WIDTH, HEIGHT = 1280, 800
SETTINGS = {
    "ui_last/window_w": WIDTH,
    "ui_last/window_h": HEIGHT,
    "ui_last/window_x": 0,
    "ui_last/window_y": 0,
    "plugins/lighttable/rawdenoise/expanded": "TRUE",
    "plugins/lighttable/images_in_row": 3,
    "plugins/lighttable/layout": 1,
    "ui_last/grouping": "FALSE",
    "ui_last/panels/lighttable/bottom": 0,
    "lighttable/ui/filmstrip_visible": "FALSE",
    "lighttable/ui/bottom_visible": "FALSE",
    "lighttable/ui/1/filmstrip_visible": "FALSE",
    "lighttable/ui/1/bottom_visible": "FALSE",
}
SCENES = ((0, 12800), (6, 12800), (3, 25600))


def photograph_darktable(folder: Path) -> Path:
    """Let darktable denoise captures, and take a picture of its window."""
    for seed, iso in SCENES:
        write_capture(
            folder / "captures" / f"IMG_{seed + 1:04}.dng", seed=seed, iso=iso, width=768, height=576
        )
    shot = folder / "darktable.png"
    take = "os.execute('import -window root ' .. {})"
    darktable = Darktable(folder / "darktable")
    darktable.home.mkdir()
    darktable.install(**SETTINGS).run(
        f"""
          dt.database.import({lua_string(str(folder / "captures"))})
          local function all_drawn(number)
            host.wait("import", function() return #dt.database == number end)
            for index = 1, number do dt.database[index]:generate_cache(true, 1, 5) end
            dt.control.sleep(3000) -- darktable has drawn when nothing changes any more, which nobody can ask
          end
          all_drawn(3)
          local images = {{}}
          for index = 1, 3 do
            images[index] = dt.database[index]
            images[index].rating = index + 2
          end
          images[1].red, images[3].green = true, true
          host.press("denoise raw", images)
          host.wait_said("3 pictures denoised")
          dt.gui.selection({{}})
          os.execute("xdotool mousemove 600 690") -- away from the pictures
          all_drawn(6)
          {take.format(lua_string(str(shot)))}
        """,
        screen=f"{WIDTH}x{HEIGHT}x24",
    )
    return shot


def main() -> None:
    """Write the two pictures."""
    with TemporaryDirectory() as name:
        shot = photograph_darktable(Path(name))
        panel = ["-crop", "300x216+962+292", "+repage", "-colors", "128"]
        for output, options in (
            ("darktable-panel.png", panel),
            ("darktable-results.jpg", ["-quality", "85"]),
        ):
            subprocess.run(["convert", shot, *options, DOCS / output], check=True)


if __name__ == "__main__":
    main()
