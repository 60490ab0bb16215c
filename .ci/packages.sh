# shellcheck shell=bash disable=SC2034
# What test.sh and demo.sh need of Debian 12, in one place. Sourced by both.

packages_build=(
    build-essential cmake ninja-build pkg-config
    libevent-dev libnghttp2-dev libssl-dev libfyaml-dev libjansson-dev node-llhttp
    libavformat-dev libavcodec-dev libavutil-dev libcmocka-dev
)
packages_demo=(ffmpeg fonts-dejavu-core openssl python3)
packages_test=(
    clang clang-format libclang-rt-14-dev
    ffmpeg fonts-dejavu-core gstreamer1.0-tools gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
    varnish curl nghttp2-client openssl python3 python3-pytest python3-pytest-xdist
    libxml2-utils iproute2
    chromium
)

# packages_install NAME...: installs those that are missing. Without root it can only say so.
packages_install() {
    local p missing=()
    if ! command -v dpkg-query >/dev/null; then
        echo "This is no Debian: see .ci/packages.sh for what is needed." >&2
        return 1
    fi
    for p in "$@"; do
        dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "Missing packages, and only root can install them: run sudo $0" >&2
        echo "  ${missing[*]}" >&2
        return 1
    fi
    echo "installing: ${missing[*]}"
    (
        # Services that packages bring (varnish) must not start by themselves.
        policy=/usr/sbin/policy-rc.d
        if [ ! -e $policy ]; then
            trap 'rm -f $policy' EXIT
            printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy
        fi
        apt-get update -q &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
    )
}

# players_install: dash.js and Shaka Player into tests/players, with node and npm from wherever.
players_install() {
    local at=tests/players tools=()
    command -v node >/dev/null || tools+=(nodejs)
    command -v npm >/dev/null || tools+=(npm)
    packages_install "${tools[@]}" || return 1
    [ ! $at/node_modules/.package-lock.json -nt $at/package-lock.json ] || return 0
    echo "fetching the players (npm)"
    npm ci --prefix $at --no-audit --no-fund --loglevel error &&
        touch $at/node_modules/.package-lock.json
}
