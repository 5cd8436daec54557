# The programs in this folder source this file. It sets $root, the checkout, and $python, an interpreter that has what the
# service needs. A program that sets `needs=development` first gets the development tools too. All others neither install
# nor remove these, so a production environment stays one. It needs a Python >= 3.12 and, the first time, a package index.
# It never downloads a Python.
# It prints nothing on standard output, and on standard error only what it installs or why it cannot continue.

root=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd -P)

refuse() {
    printf '%s\n' "$1" >&2
    exit 2
}

# Says what will take a while. Only the first call prints its line.
announce() {
    [ -n "${announced-}" ] || printf '%s\n' "$1" >&2
    announced=yes
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' </dev/null >/dev/null 2>&1
}

# A version manager's shim for python3 may be an old version although newer ones are installed too.
find_interpreter() {
    for candidate in "$root/.venv/bin/python" python3.13 python3 python3.12 python3.14 python \
        "${PYENV_ROOT:-${HOME:-/}/.pyenv}"/versions/3.13*/bin/python \
        "${PYENV_ROOT:-${HOME:-/}/.pyenv}"/versions/3.12*/bin/python \
        "${PYENV_ROOT:-${HOME:-/}/.pyenv}"/versions/3.14*/bin/python; do
        if is_new_enough "$candidate"; then
            "$candidate" -c 'import sys; print(sys._base_executable)' </dev/null
            return 0
        fi
    done

    UV_PYTHON_DOWNLOADS=never uv python find --no-project '>=3.12' 2>/dev/null
}

# Built in a temporary folder and moved into place, so that two programs started at once never see half of it.
install_uv() {
    aside="$root/.uv.$$"
    rm -rf -- "$aside"

    if "$1" -m venv "$aside" >/dev/null 2>&1 &&
        "$aside/bin/python" -m pip install --quiet --disable-pip-version-check --no-input 'uv>=0.8,<1' >&2; then
        :
    else
        # Debian ships venv without ensurepip, and pip as a separate package.
        rm -rf -- "$aside"

        for installer in "$1" python3 /usr/bin/python3; do
            if "$installer" -m pip install --quiet --disable-pip-version-check --no-input \
                --target "$aside" 'uv>=0.8,<1' >/dev/null 2>&1; then
                break
            fi
        done
    fi

    if [ ! -x "$aside/bin/uv" ]; then
        rm -rf -- "$aside"
        return 1
    fi

    if [ -x "$root/.uv/bin/uv" ]; then
        rm -rf -- "$aside"
    else
        rm -rf -- "$root/.uv"
        mv -- "$aside" "$root/.uv"
    fi
}

interpreter=$(find_interpreter) || refuse 'no Python >= 3.12 was found: install one, or put it on PATH'
[ -x "$root/.venv/bin/python" ] || announce 'Installing into .venv, which takes about a minute the first time.'

if command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then
    uv=uv
else
    uv="$root/.uv/bin/uv"

    if [ ! -x "$uv" ]; then
        announce 'Installing uv into .uv.'
        install_uv "$interpreter" || refuse 'uv is missing and could not be installed with pip: install uv'
    fi
fi

# Another project's environment may be active; it must not be used.
unset VIRTUAL_ENV UV_PROJECT_ENVIRONMENT

if [ "${needs-}" = development ]; then
    groups='--dev --all-extras'
else
    groups='--no-dev --all-extras --inexact'
fi

sync() {
    # shellcheck disable=SC2086 - several options
    UV_PYTHON=$interpreter UV_PYTHON_DOWNLOADS=never "$uv" sync --project "$root" --frozen --quiet $groups "$@" >&2
}

if ! sync --check 2>/dev/null; then
    announce 'Updating .venv.'
    sync || refuse 'the environment could not be built: see above'
fi

python="$root/.venv/bin/python"
PYTHONPATH=$root
export PYTHONPATH
