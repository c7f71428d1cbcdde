#!/bin/sh
# cli_writer.sh DB NAME: one sqlite3 process after the other, each inserts a row without a busy timeout and is gone; "ack NUMBER" after each.
# Ends when the file DB.end appears.
printf 'ready\n'
read -r _
number=0
while [ ! -e "$1.end" ]; do
    if error=$(sqlite3 -cmd '.timeout 0' "$1" "INSERT INTO events(client, body) VALUES ('$2', $number)" 2>&1); then
        printf 'ack %s\n' "$number"
    else
        printf 'error: %s\n' "$error"
    fi
    number=$((number + 1))
done
