#!/usr/bin/env bash
# `dvc add` of a folder leaves the links to folders in it out, and says nothing; links to files it takes as files.
#
# Versions: dvc 3.67.1; Python 3.11.
# `set` holds cat/1.txt, cat/linked.txt -> 1.txt and dog -> ../pool/dog, a folder of one file. `dvc add set` and
# `dvc status` succeed without a warning. What DVC tracks of it is cat/1.txt and cat/linked.txt, a file of its own; the
# class dog is not there, and so in no clone.
# Seen:
#   added: cat/1.txt cat/linked.txt
#   status: Data and pipelines are up to date.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dvc==3.67.1
export DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR="$folder/site" XDG_CONFIG_HOME="$folder/config" XDG_CACHE_HOME="$folder/cache"
dvc="$folder/venv/bin/dvc"
mkdir -p "$folder/project/set/cat" "$folder/project/pool/dog"
cd "$folder/project"
git init --quiet
"$dvc" init --quiet
echo cat > set/cat/1.txt
echo dog > pool/dog/1.txt
ln -s 1.txt set/cat/linked.txt
ln -s ../pool/dog set/dog
test -f set/dog/1.txt
said=$("$dvc" add set 2>&1)
status=$("$dvc" status 2>&1)
added=$("$dvc" list --recursive --dvc-only . set | sed 's/.* //' | sort | tr '\n' ' ')
echo "added: $added"
echo "status: $status"
test "$added" = "cat/1.txt cat/linked.txt "
[[ "$status" == *"up to date"* ]]
! grep -qiE 'dog|link.*(skip|ignor)' <<< "$said"
