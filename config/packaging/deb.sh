#!/usr/bin/env bash
# Build the Debian package: an environment under /opt/tinyast with the locked versions.
#
#   config/packaging/deb.sh WHEEL OUTPUT [PYTHON]
#
# PYTHON is Debian's own (default: /usr/bin/python3, with python3-venv), since the package depends on
# its version. The architecture is the machine's. No root is needed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
wheel=$(realpath "$1")
output=$(mkdir -p "$2" && cd "$2" && pwd)
python=${3:-/usr/bin/python3}
version=$(basename "$wheel" | cut -d - -f 2)
series=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
next=$("$python" -c 'import sys; print("%d.%d" % (sys.version_info[0], sys.version_info[1] + 1))')
architecture=$(dpkg --print-architecture)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/tinyast
place=$stage/opt/tinyast

# The environment. Its scripts name the place where it is made; then they name its home.
"$python" -m venv "$place"
pip=("$place/bin/python" -m pip --quiet --disable-pip-version-check install --no-compile)
"${pip[@]}" --no-deps --require-hashes -r "$root/config/locks/base.txt"
"${pip[@]}" --no-deps "$wheel"
"$place/bin/python" -m pip --quiet uninstall --yes setuptools pip
rm -f "$place"/bin/{activate*,Activate*,pip*}
find "$place" -name __pycache__ -prune -exec rm -rf {} +
grep -rlIZ --exclude-dir=site-packages "$place" "$place" | xargs -0 sed -i "s|$place|/opt/tinyast|g"
sed -i '/^command = /d' "$place/pyvenv.cfg"
(cd "$place" && "$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$stage" -p / \
  "lib/python$series/site-packages")

# Its unit, settings and documents.
install -d "$stage/usr/bin" "$stage/var/spool/tinyast"
ln -s /opt/tinyast/bin/tinyastd "$stage/usr/bin/tinyastd"
install -D -m 644 "$here/debian/tinyast.toml" "$stage/etc/tinyast/tinyast.toml"
install -d "$stage/lib/systemd/system"
sed -e 's|^ExecStart=.*|ExecStart=/opt/tinyast/bin/tinyastd run --config /etc/tinyast/tinyast.toml|' \
  -e 's|^DynamicUser=yes|User=tinyast\nGroup=tinyast|' \
  "$root/config/tinyastd.service" >"$stage/lib/systemd/system/tinyastd.service"
docs=$stage/usr/share/doc/tinyast
install -D -m 644 "$here/debian/copyright" "$docs/copyright"
gzip -n -9 <"$root/CHANGELOG.md" >"$docs/changelog.gz"
install -m 644 "$root/config/tinyast.toml" "$docs/all-settings.toml"

install -d "$stage/DEBIAN"
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@PYTHON@/$series/" \
  -e "s/@NEXT@/$next/" -e "s/@SIZE@/$(du -sk "$stage" | cut -f 1)/" "$here/debian/control" \
  >"$stage/DEBIAN/control"
install -m 755 "$here"/debian/{preinst,postinst,prerm,postrm} "$stage/DEBIAN/"
echo /etc/tinyast/tinyast.toml >"$stage/DEBIAN/conffiles"
(cd "$stage" && find . -type f -not -path './DEBIAN/*' -printf '%P\0' | sort -z |
  xargs -0 md5sum >DEBIAN/md5sums)
find "$stage" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zzstd -z9 --build "$stage" \
  "$output/tinyast_${version}_${architecture}.deb" >&2
echo "$output/tinyast_${version}_${architecture}.deb"
