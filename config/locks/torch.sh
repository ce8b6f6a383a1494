#!/usr/bin/env bash
# Install torch after checking the file that pip downloads.
#
#   config/locks/torch.sh REQUIREMENT PIP...
#
# An index offers a CUDA build or a CPU build, under the same version. pip's hash mode would prefer
# the one whose hash it sees first, so pip chooses freely here, and its choice must be one of the
# builds in torch.txt or torch-cpu.sha256. Another version than the locked one is not checked.
set -euo pipefail
wanted=$1
shift
pip=("$@")
locks=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

installed=$("${pip[@]}" show torch 2>/dev/null | sed -n 's/^Version: //p') || true
if [ -n "$installed" ] && { [ "$wanted" = torch ] || [ "$wanted" = "torch==${installed%%+*}" ]; }; then
  exit
fi

download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
"${pip[@]}" download --no-deps --dest "$download" "$wanted"
file=$(echo "$download"/torch-*.whl)
if grep -q "^$wanted " "$locks/torch.txt"; then
  hash=$(sha256sum "$file" | cut -d ' ' -f 1)
  if ! grep -q "$hash" "$locks/torch.txt" "$locks/torch-cpu.sha256"; then
    echo "${file##*/} (sha256 $hash) is no build of $wanted that $locks knows. If you trust it, add" \
      "its line of sha256sum to torch-cpu.sha256, or name it: make TORCH=/path/to/the.whl" >&2
    exit 1
  fi
else
  echo "torch is not checked: $wanted is not the version in torch.txt" >&2
fi
"${pip[@]}" install "$file"
