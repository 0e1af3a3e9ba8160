#!/bin/sh
# Make a virtual environment: PYTHON VENV. Debian splits `ensurepip` off into python3-venv, so a bare Python 3.11
# cannot make one; root installs that package, anybody else is told to.
set -eu
python=$1
venv=$2
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "tumorspread needs Python 3.11 or newer; name one with make PYTHON=python3.11" >&2
    exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    else
        echo "this Python cannot make a virtual environment; as root: apt-get install python3-venv" >&2
        exit 1
    fi
fi
"$python" -m venv "$venv"
