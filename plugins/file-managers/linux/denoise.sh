#!/bin/sh
# Denoises the raw files that a file manager hands over; the results lie beside them. A notification says when it
# begins and how it went. `rawdenoise plugins install` puts the command in.

rawdenoise() {
    @RAWDENOISE@ "$@"
}

escape() { # file names are no markup
    printf '%s\n' "$1" | sed -e 's/&/\&amp;/g' -e 's/</\&lt;/g' -e 's/>/\&gt;/g'
}

inform() {
    notify-send --app-name rawdenoise --icon camera-photo -- rawdenoise "$(escape "$1")" 2>/dev/null ||
        zenity --notification --text "rawdenoise: $(escape "$1")" 2>/dev/null ||
        kdialog --title rawdenoise --passivepopup "$1" 10 2>/dev/null ||
        printf 'rawdenoise: %s\n' "$1"
}

warn() { # stays until it is read
    notify-send --app-name rawdenoise --icon dialog-warning --urgency critical -- rawdenoise "$(escape "$1")" 2>/dev/null ||
        zenity --error --title rawdenoise --text "$(escape "$1")" 2>/dev/null ||
        kdialog --title rawdenoise --error "$1" 2>/dev/null ||
        printf 'rawdenoise: %s\n' "$1" >&2
}

if [ "$#" -eq 0 ]; then
    warn 'Select raw photographs first.'
    exit 2
fi

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

case $# in
    1) inform 'Denoising one photograph.' ;;
    *) inform "Denoising $# photographs." ;;
esac
rawdenoise denoise --beside --name '{stem}_dn' -- "$@" 2>"$log"
code=$?

summary=$(sed -n 's/^\([0-9][0-9]* [dsf][^;]*\) in [0-9].*/\1/p' "$log" | tail -n 1)
if [ "$code" -eq 0 ]; then
    inform "${summary:-Done}. The results lie beside the photographs."
else
    reasons=$(sed -n -e 's/^  failed: //p' -e 's/^[Ee]rror: //p' "$log" | head -n 5)
    [ -n "$reasons" ] || reasons=$(tail -n 3 "$log")
    warn "${summary:-Nothing was done} (exit code $code).
$reasons"
fi
exit "$code"
