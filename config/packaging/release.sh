#!/usr/bin/env bash
# Complete a release in dist/, where wheel, sdist, Debian package and SBOM lie already: its section of
# the changelog, and the checksums of all files.
#
#   config/packaging/release.sh VERSION
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
version=$1
umask 022
# The section of this version, or of what is not released yet.
awk -v version="$version" '
  /^## / { on = ($2 == version || ($2 == "Unreleased" && !seen)); seen = seen || on }
  on
' CHANGELOG.md >"dist/CHANGES-$version.md"
cd dist
ls "tinyast-$version"-*.whl "tinyast-$version.tar.gz" "tinyast_${version}_"*.deb \
  "tinyast-$version.cdx.json" "CHANGES-$version.md" | LC_ALL=C sort | xargs sha256sum >SHA256SUMS
cat SHA256SUMS
