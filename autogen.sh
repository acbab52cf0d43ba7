#!/bin/sh
# Make configure from configure.ac. Needed once after a clone; ./quickstart and ./runtests do it themselves.
set -eu
cd "$(dirname "$0")"
mkdir -p m4
exec autoreconf --install --force
