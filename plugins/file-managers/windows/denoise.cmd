@echo off
chcp 65001 >nul
rem Denoises the raw files that are sent to it; the results lie beside them. The window stays where something failed.
rem `rawdenoise plugins install` puts the command in.
setlocal DisableDelayedExpansion
title rawdenoise
if "%~1"=="" (
    echo Select raw photographs, and send them here.
    pause
    exit /b 2
)
@RAWDENOISE@ denoise --beside --name "{stem}_dn" -- %*
set "code=%errorlevel%"
if not "%code%"=="0" (
    echo.
    echo Not all went well ^(exit code %code%^): what, stands above.
    pause
)
exit /b %code%
