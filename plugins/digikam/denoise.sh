#!/bin/sh
# digiKam's Batch Queue Manager calls this as its Custom Script: INPUT is a raw file, OUTPUT the TIFF that digiKam
# expects of it. `rawdenoise plugins install` puts the command in.

rawdenoise() {
    @RAWDENOISE@ "$@"
}

if [ "$#" -ne 2 ]; then
    printf 'usage: %s INPUT OUTPUT\n' "$0" >&2
    exit 2
fi

folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

rawdenoise denoise --format tiff --output "$folder/denoised" -- "$1" || exit
mv -- "$folder"/denoised/*.tif* "$2"
