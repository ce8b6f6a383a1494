#!/usr/bin/env bash
# Write the lock files: exact versions, with the hashes of every file of each on the package index.
#
#   config/locks/lock.sh UV TORCH [UPGRADE...]
#
# UV is the command of uv, TORCH the version of torch as torch==X, and UPGRADE --upgrade, or
# --upgrade-package NAME; versions that a lock file has already stay otherwise.
#
# base.txt     what the daemon needs, with its subscribers: for `make run` and the packages of a release
# dev.txt      what `make test` needs
# release.txt  the tools of `make lock`, `make release` and `make audit`
# home-assistant.txt  what `make home-assistant` installs, for Linux, within the constraints that
#                     Home Assistant ships
#
# torch.txt    the builds of torch on the index, of which torch.sh accepts any
#
# What belongs to torch's CUDA builds is left out: those builds name the exact versions themselves.
set -euo pipefail
uv=$1 torch=$2
shift 2
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

compile() { # OUTPUT OPTION...
  local output=config/locks/$1
  shift
  "$uv" pip compile --quiet --python-version 3.11 --generate-hashes --no-header --no-annotate \
    "$@" -o "$output"
  if grep -q '^torch==' "$output"; then
    awk '/^[^ ]/ { mine = /^torch==/ } mine' "$output" >config/locks/torch.txt
  fi
  awk '/^[^ ]/ { skip = /^(torch|triton|nvidia-[a-z0-9-]*|cuda-[a-z-]*)==/ } !skip' "$output" \
    >"$output.new"
  mv "$output.new" "$output"
}

mapfile -t subscribers < <(python3 - <<'PYTHON'
import tomllib

with open("pyproject.toml", "rb") as file:
    extras = tomllib.load(file)["project"]["optional-dependencies"]
for name in ("page", "mqtt", "notify"):
    if name in extras:
        print(f"--extra={name}")
PYTHON
)
compile dev.txt --universal --extra dev --extra cluster --constraint <(echo "$torch") "$@" pyproject.toml
compile base.txt --universal --constraint config/locks/dev.txt "${subscribers[@]}" "$@" pyproject.toml config/locks/build.in
compile release.txt --universal "$@" config/locks/release.in

home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
"$uv" pip install --quiet --no-deps --target "$home" --python-version 3.11 \
  "$(grep -o '^homeassistant==[0-9.]*' config/locks/home-assistant.in)"
compile home-assistant.txt --python-platform linux \
  --constraint "$home/homeassistant/package_constraints.txt" "$@" config/locks/home-assistant.in
