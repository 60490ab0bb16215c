#!/usr/bin/env bash
# A data centre and two POPs on this machine, and a broadcast through all of them.
#   sudo ./demo.sh           runs until Ctrl-C and leaves nothing behind but build/
#   sudo ./demo.sh --once    half a minute: checks that both POPs play, says PASS or FAIL, exits 0 or 1
# It installs what is missing (Debian packages, dash.js by npm) and builds build/release. Without
# root it does the same, as long as no package is missing. FRESHET_BIN=FILE: that program, no build.
set -euo pipefail
cd "$(dirname "$0")"
. .ci/packages.sh

once=0
for arg in "$@"; do
    case "$arg" in
    --once) once=1 ;;
    -h | --help) sed -n '2,6s/^# //p' "$0" && exit 0 ;;
    *) echo "usage: $0 [--once]" >&2 && exit 2 ;;
    esac
done

say() { printf '== %s\n' "$*"; }
die() { printf '%s: %s\n' "$0" "$*" >&2 && exit 1; }

# ---- nothing is left behind, however it ends ----

dir='' children=() # in the order in which they were started; the last one ends first
declare -A name=() # of those that must go on, by pid

# A child of ours goes with us, even when we are killed, and not before: Ctrl-C reaches us alone.
child() { exec setsid setpriv --pdeathsig TERM -- "$@"; }

end() {
    kill "$1" 2>/dev/null || return 0
    for _ in {1..200}; do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.05
    done
    kill -KILL "$1" 2>/dev/null || true
}

leave() {
    local status=$? i pid
    trap '' INT TERM HUP
    for ((i = ${#children[@]} - 1; i >= 0; i--)); do
        pid=${children[i]}
        end "$pid"
        wait "$pid" || case ${name[$pid]:-} in
        dc | pop?)
            tail -n 40 "$dir/${name[$pid]}.log" >&2
            echo "${name[$pid]} did not end in good order" >&2
            status=1
            ;;
        esac
    done
    wait # for a sleep that is under way
    [ -z "$dir" ] || rm -rf "$dir"
    exit "$status"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# ---- what is needed ----

# The number of steps that are done, on one line; all of it when it fails.
build() {
    local log=build/demo.log line pid show=0
    [ ! -t 1 ] || show=1
    mkdir -p build
    if [ ! -w build ]; then
        [ -x build/release/freshet ] || die "cannot write to build/: run sudo $0, or remove it first"
        echo "build/ is somebody else's: taking what is there as it is"
        return
    fi
    child cmake --preset release >$log 2>&1 &
    pid=$!
    children+=("$pid")
    wait $pid || { cat $log >&2 && die "cmake failed"; }
    child ninja -C build/release freshet freshet-encode >>$log 2>&1 &
    pid=$!
    children+=("$pid")
    while kill -0 $pid 2>/dev/null; do
        sleep 0.5 & wait $!
        line=$(tail -n 1 $log)
        [[ $show -eq 0 || $line != \[* ]] || printf '\r   %s ' "${line%%]*}]"
    done
    [ $show -eq 0 ] || printf '\r%20s\r' ''
    wait $pid || { tail -n 40 $log >&2 && die "the build failed"; }
    children=()
}

packages=("${packages_demo[@]}")
[ -n "${FRESHET_BIN:-}" ] || packages+=("${packages_build[@]}")
packages_install "${packages[@]}"
# The pages need dash.js, which is not part of freshet.
[ $once -eq 1 ] || players_install ||
    echo "without npm: the pages below will say that they have no player" >&2
if [ -n "${FRESHET_BIN:-}" ]; then
    freshet=$FRESHET_BIN
else
    say "building"
    build
    freshet=build/release/freshet
fi
[ -x "$freshet" ] || die "$freshet is no program"

# ---- three processes ----

dir=$(mktemp -d -t freshet-demo.XXXXXX)

certificate() { # certificate NAME [OPTION]...: NAME.pem and NAME.key for this machine
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 "${@:2}" \
        -keyout "$dir/$1.key" -out "$dir/$1.pem" 2>"$dir/openssl.log" ||
        { cat "$dir/openssl.log" >&2 && die "openssl failed"; }
}

certificates() {
    local names="subjectAltName=DNS:localhost,IP:127.0.0.1" leaf="basicConstraints=CA:FALSE"
    certificate tls -subj "/CN=localhost" -addext $names
    certificate tier-ca -subj "/CN=freshet demo"
    certificate tier -subj "/CN=localhost" -addext $names -addext $leaf \
        -CA "$dir/tier-ca.pem" -CAkey "$dir/tier-ca.key"
}

# The port that is asked for, or 0, any free one, when somebody has it.
port() {
    if (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then echo 0; else echo "$1"; fi
}

common() { # common NAME ADMIN_PORT
    cat <<YAML
runtime_dir: $dir/$1
state_dir: $dir/$1
node: {id: $1, pop: $1}
admin: {listen: ["127.0.0.1:$(port "$2")"]}
log: {level: note}
tls:
  default: {cert: $dir/tls.pem, key: $dir/tls.key}
  tier: {cert: $dir/tier.pem, key: $dir/tier.key, ca: $dir/tier-ca.pem}
YAML
}

dc_config() {
    common dc 8407
    cat <<YAML
encode: {workers: 1}
origin: {listen: ["https://127.0.0.1:$(port 9443)"]}
apps: {live: {}}
YAML
}

pop_config() { # pop_config N HOME
    common "pop$1" $((8407 + $1))
    cat <<YAML
ingest:
  listen: ["rtmp://127.0.0.1:$(port $((1925 + 10 * $1)))", "rtmps://127.0.0.1:$(port $((1926 + 10 * $1)))"]
  relay: ["$2"]
edge:
  listen: ["http://127.0.0.1:$(port $((8080 + $1)))", "https://127.0.0.1:$(port $((8442 + $1)))"]
  upstream: ["$2"]
  cache: 256M
apps: {live: {publish: local}}
YAML
}

# start NAME: runs the configuration NAME.yaml until it listens; then listening knows where.
start() {
    mkdir "$dir/$1"
    child "$freshet" run -c "$dir/$1.yaml" >"$dir/$1.log" 2>&1 &
    local pid=$!
    children+=("$pid")
    for _ in {1..200}; do
        kill -0 $pid 2>/dev/null || break
        if "$freshet" listeners -c "$dir/$1.yaml" >"$dir/$1.urls" 2>/dev/null; then
            name[$pid]=$1
            return 0
        fi
        sleep 0.1
    done
    cat "$dir/$1.log" >&2
    die "$1 does not start"
}

url() { # url NAME SECTION SCHEME
    local section at
    while read -r section at; do
        [[ $section != "$2" || $at != "$3"://* ]] || echo "$at"
    done <"$dir/$1.urls"
}

say "starting a data centre and two POPs"
certificates
dc_config >"$dir/dc.yaml"
start dc
home=$(url dc origin.listen https)
for n in 1 2; do
    pop_config $n "$home" >"$dir/pop$n.yaml"
    start pop$n
done

# ---- a broadcast ----

publish() { # publish URL [OPTION]...
    local font=/usr/share/fonts/truetype/dejavu/DejaVuSansMono-Bold.ttf clock=null
    if [ -r $font ]; then
        clock="drawtext=fontfile=$font:fontsize=40:fontcolor=white:box=1:boxcolor=black@0.8"
        clock+=":boxborderw=12:x=(w-tw)/2:y=h-th-40:text=%{localtime\\\\:%T}"
    fi
    child ffmpeg -hide_banner -loglevel warning -nostdin \
        -re -f lavfi -i testsrc2=size=640x360:rate=30 -re -f lavfi -i sine=sample_rate=48000 \
        -vf "$clock" -c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p \
        -g 60 -sc_threshold 0 -b:v 800k -c:a aac -b:a 96k "${@:2}" \
        -flvflags no_duration_filesize -f flv "$1" >"$dir/ffmpeg.log" 2>&1
}

length=()
[ $once -eq 0 ] || length=(-t 20)
door=$(url pop1 ingest.listen rtmps)
say "broadcasting to $door/live/demo"
publish "$door/live/demo" "${length[@]}" &
children+=($!)
name[$!]=ffmpeg

# Until the check is over; whatever else ends is a failure, but for a broadcast of a given length.
watch() {
    local pid
    while sleep 0.2 & wait $!; do
        for pid in "${!name[@]}"; do
            ! kill -0 "$pid" 2>/dev/null || continue
            [ "${name[$pid]}" != check ] || return 0
            if [ "${name[$pid]}" != ffmpeg ] || [ $once -eq 0 ]; then
                [ $once -eq 0 ] || echo FAIL
                [ "${name[$pid]}" != ffmpeg ] || cat "$dir/ffmpeg.log" >&2
                die "${name[$pid]} has ended"
            fi
            unset "name[$pid]"
        done
    done
}

if [ $once -eq 1 ]; then
    check=(python3 tests/demo/check.py live/demo "$(url dc admin.listen http)")
    for n in 1 2; do
        check+=("$(url pop$n edge.listen http)" "$(url pop$n admin.listen http)")
    done
    child "${check[@]}" 2>&1 &
    children+=($!)
    name[$!]=check
    pid=$!
    watch
    wait $pid || exit 1
    exit 0
fi

show() {
    local n
    for n in 1 2; do
        echo
        echo "POP $n"
        echo "  watch       $(url pop$n edge.listen http)/watch/live/demo"
        echo "  any player  $(url pop$n edge.listen http)/live/demo/manifest.mpd"
        echo "  over TLS    $(url pop$n edge.listen https)/watch/live/demo"
        echo "  status      $(url pop$n admin.listen http)/status"
    done
    echo
    echo "Data centre"
    echo "  status      $(url dc admin.listen http)/status"
    echo
    echo "Publish your own, at either POP (any name will do for cam; H.264 and AAC,"
    echo "keyframe interval 2 s), and watch it at both: .../watch/live/cam"
    echo "  OBS         Settings, Stream, Custom: server $(url pop1 ingest.listen rtmp)/live, stream key cam"
    echo "  FFmpeg      ffmpeg -re -i FILE -c copy -f flv $(url pop2 ingest.listen rtmps)/live/cam"
    echo
    echo "Stop with Ctrl-C."
}
trap 'echo && say "stopping" && exit 0' INT
show
watch
