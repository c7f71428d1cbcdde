// main DB NAME COUNT: go-sqlite3 inserts rows one by one, then reads them back.
package main

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"

	_ "github.com/mattn/go-sqlite3"
)

func main() {
	path, name := os.Args[1], os.Args[2]
	count, err := strconv.Atoi(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
	database, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=0")
	if err != nil {
		log.Fatal(err)
	}
	done, errors := 0, map[string]int{}
	for number := 0; number < count; number++ {
		if _, err := database.Exec("INSERT INTO events(client, body) VALUES (?, ?)", name, number); err != nil {
			errors[err.Error()]++
		} else {
			done++
		}
	}
	rows := 0
	if err := database.QueryRow("SELECT count(*) FROM events WHERE client = ?", name).Scan(&rows); err != nil {
		log.Fatal(err)
	}
	if rows != done {
		log.Fatalf("%d rows read back of %d written", rows, done)
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{"done": done, "errors": errors})
}
