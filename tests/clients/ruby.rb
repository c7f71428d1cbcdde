# ruby.rb DB NAME COUNT: the sqlite3 gem inserts rows one by one, then reads them back.
require "json"
require "sqlite3"

path, name, count = ARGV
done, errors = 0, Hash.new(0)
$stdout.sync = true
puts "ready"
$stdin.gets
database = SQLite3::Database.new(path)
database.busy_timeout = 0
count.to_i.times do |number|
  database.execute("INSERT INTO events(client, body) VALUES (?, ?)", [name, number])
  done += 1
rescue SQLite3::Exception => error
  errors[error.message] += 1
end
rows = database.get_first_value("SELECT count(*) FROM events WHERE client = ?", [name])
abort "#{rows} rows read back of #{done} written" unless rows == done
puts JSON.generate(done: done, errors: errors)
