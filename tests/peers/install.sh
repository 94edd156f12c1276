#!/bin/sh
# Install the peers that are missing. Needs root on Debian or Ubuntu; elsewhere it says so and is content.
#
# Looks for commands, not packages: node and npm, for one, often come from elsewhere, and Debian's would clash.
# PEERS=0 leaves everything as it is. APT_GET names another apt-get, as the tests do.
set -eu

if [ "${PEERS:-1}" = 0 ]; then
    echo "peers: PEERS=0, nothing installed"
    exit 0
fi

PATH="$PATH:/usr/sbin:/sbin"
missing=""

want() { # command, or plugin file, and the package that brings it
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
want_file() { # the folders it may lie in, its pattern, the package
    for folder in $1; do
        for file in "$folder"/$2; do
            [ -e "$file" ] && return
        done
    done
    missing="$missing $3"
}

want storescp dcmtk
want Orthanc orthanc
want_file "/usr/share/orthanc/plugins /usr/lib/orthanc /usr/local/share/orthanc/plugins" 'libOrthancDicomWeb.so*' orthanc-dicomweb
want ffmpeg ffmpeg
want gst-launch-1.0 gstreamer1.0-tools
want_file "/usr/lib/*/gstreamer-1.0" libgstvideotestsrc.so gstreamer1.0-plugins-base
want_file "/usr/lib/*/gstreamer-1.0" libgstrtp.so gstreamer1.0-plugins-good
want dciodvfy dicom3tools
want tshark tshark
want chromium chromium
want node nodejs
want npm npm
want openssl openssl
want ip iproute2

missing="${missing# }"
if [ -z "$missing" ]; then
    echo "peers: all here"
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v "${APT_GET:-apt-get}" >/dev/null 2>&1; then
    echo "peers: absent: $missing; not root on Debian or Ubuntu, so nothing is installed and their tests are skipped"
    exit 0
fi

echo "peers: installing with apt-get, services not started: $missing  (PEERS=0 turns this off)"

policy="${POLICY_RC_D:-/usr/sbin/policy-rc.d}"
if [ ! -e "$policy" ]; then # tells Debian's packages not to start their services
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
"${APT_GET:-apt-get}" update -q
# shellcheck disable=SC2086  (a list of names)
"${APT_GET:-apt-get}" install -q -y --no-install-recommends $missing
