@echo off
chcp 65001 >nul
rem digiKam's Batch Queue Manager calls this as its Custom Script: the first word is a raw file, the second the TIFF
rem that digiKam expects of it. `rawdenoise plugins install` puts the command in.
setlocal DisableDelayedExpansion
if "%~2"=="" (
    echo usage: %0 INPUT OUTPUT
    exit /b 2
)
set "folder=%TEMP%\rawdenoise-%RANDOM%%RANDOM%"
@RAWDENOISE@ denoise --format tiff --output "%folder%" -- "%~1"
set "code=%errorlevel%"
if "%code%"=="0" for %%f in ("%folder%\*.tif*") do move /y "%%f" "%~2" >nul
if exist "%folder%" rd /s /q "%folder%"
if "%code%"=="0" if not exist "%~2" set "code=1"
exit /b %code%
