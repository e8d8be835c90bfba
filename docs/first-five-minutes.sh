#!/bin/sh
# The first five minutes with umach. Every line after `try` or `fails` is a command as you would type it, and what it must show is checked.
#
# Needs `umach` and cargo in PATH (cargo install --path tools/umach), works in a folder of its own and removes it. No step takes longer than
# STEP_SECONDS (60). A test runs this script, and compares its commands with the README's.
set -eu

FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT
cd "$FOLDER"

step() {
    printf '\n== %s\n' "$1"
}

# Runs a command, shows what it says, and keeps it for `shows`.
perform() {
    printf '$ %s\n' "$1"
    began=$(date +%s)
    code=0
    sh -c "$1" > "$FOLDER/said" 2>&1 || code=$?
    cat "$FOLDER/said"
    took=$(($(date +%s) - began))
    if [ "$took" -gt "${STEP_SECONDS:-60}" ]; then
        echo "✘ it took $took seconds" && exit 1
    fi
}

try() {
    perform "$1"
    if [ "$code" -ne 0 ]; then
        echo "✘ exit code $code" && exit 1
    fi
}

fails() {
    perform "$1"
    if [ "$code" -eq 0 ]; then
        echo "✘ it should have failed" && exit 1
    fi
}

shows() {
    if ! grep -Eq "$1" "$FOLDER/said"; then
        echo "✘ it does not show: $1" && exit 1
    fi
    echo "✔ $2"
}

step "everything at work, with a picture of it"
mkdir shelf shelf/docs && echo "all is well" > shelf/docs/hello.txt && echo "mine" > note.txt
try 'umach demo shelf --diagram demo.svg'
shows 'checks +([0-9]+) of \1 held' "every check of the demo held"
grep -q '</svg>' demo.svg && echo "✔ demo.svg is there"

step "a project of your own"
try 'umach new hello'
# For who keeps what is built elsewhere.
if [ -n "${CARGO_TARGET_DIR:-}" ]; then
    ln -s "$CARGO_TARGET_DIR" hello/target
fi
cd hello
try 'cargo build'
try "umach run -- sh -c 'target/debug/server & target/debug/client'"
shows '^hello, world$' "the client found the server and was answered"
shows 'bread, milk' "a notebook was handed out and written in"

step "the messages, and the right that moved"
try "umach run -- sh -c 'target/debug/server & UMACH_TRACE=1 target/debug/client'"
shows 'receives: .*, send 0x[0-9a-f]+, from T' "a send right came in a message"

step "kill -9 the server, and the client says at once who died"
fails "umach run -- sh -c 'target/debug/server & (sleep 1; kill -9 \$!) & target/debug/client --stay'"
shows '^hello \(process [0-9]+\) has died$' "the client was told"

step "who holds what"
try "umach run -- sh -c 'target/debug/server & (target/debug/client --stay 2> log &) ; sleep 1; umach graph --format text; umach graph --can client hello'"
shows 'sends to P[0-9]+ "hello" → T[0-9.]+ hello' "the client holds a right to the server"
shows 'client can reach hello' "and so can reach it"

step "a second client may read a folder, and cannot write"
cd ..
fails "umach run --export shelf -- sh -c 'umach fs share /docs --as docs; umach fs cat docs:/hello.txt; umach fs put note.txt docs:/note.txt'"
shows '^all is well$' "it reads"
shows 'FILE_NOT_PERMITTED' "it cannot write"
[ ! -e shelf/docs/note.txt ] && echo "✔ nothing was written"
try 'umach explain FILE_NOT_PERMITTED'
shows 'can only be narrowed' "and is told why"

printf '\nThat was it.\n'
