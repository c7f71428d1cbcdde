import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.Map;
import java.util.TreeMap;

/** Client DB NAME COUNT: the xerial JDBC driver inserts rows one by one, then reads them back. */
public class Client {
    public static void main(String[] arguments) throws Exception {
        String name = arguments[1];
        int count = Integer.parseInt(arguments[2]);
        int done = 0;
        Map<String, Integer> errors = new TreeMap<>();
        System.out.println("ready");
        while (System.in.read() != '\n') {}
        String url = "jdbc:sqlite:" + arguments[0] + "?busy_timeout=0";
        try (Connection database = DriverManager.getConnection(url);
                PreparedStatement insert = database.prepareStatement("INSERT INTO events(client, body) VALUES (?, ?)")) {
            for (int number = 0; number < count; number++) {
                try {
                    insert.setString(1, name);
                    insert.setInt(2, number);
                    insert.executeUpdate();
                    done++;
                } catch (SQLException error) {
                    errors.merge(error.getMessage().replace('"', '\''), 1, Integer::sum);
                }
            }
            PreparedStatement read = database.prepareStatement("SELECT count(*) FROM events WHERE client = ?");
            read.setString(1, name);
            ResultSet rows = read.executeQuery();
            if (!rows.next() || rows.getInt(1) != done) {
                throw new IllegalStateException("rows read back are not those written");
            }
        }
        StringBuilder list = new StringBuilder();
        errors.forEach((text, times) -> list.append(list.length() == 0 ? "" : ", ").append("\"" + text + "\": " + times));
        System.out.println("{\"done\": " + done + ", \"errors\": {" + list + "}}");
    }
}
