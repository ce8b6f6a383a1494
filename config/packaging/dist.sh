#!/usr/bin/env bash
# Build the sdist, and the wheel from it, so that the same commit gives the same bytes everywhere.
#
#   config/packaging/dist.sh OUTPUT [PYTHON]      PYTHON has setuptools; default: .venv/bin/python
#
# Only files under version control go in. Times are those of the commit (SOURCE_DATE_EPOCH); owners,
# permissions, order and compression do not depend on the machine.
set -euo pipefail
output=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=$(realpath --no-symlinks "${2:-.venv/bin/python}")
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022

even_out() { # FOLDER: one time and one set of permissions for all files
  chmod -R u=rwX,go=rX "$1"
  find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

build() { # build_sdist|build_wheel FOLDER: of the project in the working folder
  "$python" -c 'import sys, setuptools.build_meta as backend; getattr(backend, sys.argv[1])(sys.argv[2])' \
    "$@" >&2
}

mkdir "$work/source" "$work/made"
git ls-files -z --cached | xargs -0 cp --parents --target-directory "$work/source" 
cd "$work/source"
even_out .
build build_sdist "$work/made"

# setuptools writes the present time and the user into the archive.
cd "$work"
sdist=$(basename made/*.tar.gz)
tar -xzf "made/$sdist"
name=${sdist%.tar.gz}
even_out "$name"
tar --sort=name --format=ustar --owner=0 --group=0 --numeric-owner -cf - "$name" | gzip -n -9 \
  >"$output/$sdist"

cd "$name"
build build_wheel "$output"
