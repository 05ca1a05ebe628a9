import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.Header;
import io.debezium.engine.format.Json;
import io.debezium.engine.format.KeyValueHeaderChangeEventFormat;
import java.io.BufferedWriter;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * Runs the engine once for each properties file that is named and writes what
 * it emits to the file of that name plus ".jsonl", a record a line:
 * {"topic":…,"headers":{…},"key":…,"value":…}, the last three as the engine's
 * JSON. A run ends at the logical message with the prefix "the-end", which is
 * not written.
 */
public class Record {
    static final String END = "\"prefix\":\"the-end\"";

    public static void main(String[] files) throws Exception {
        boolean all = true;
        for (String file : files) {
            all &= run(Path.of(file));
        }
        System.exit(all ? 0 : 1);
    }

    static boolean run(Path file) throws Exception {
        Properties settings = new Properties();
        try (Reader in = Files.newBufferedReader(file)) {
            settings.load(in);
        }
        CountDownLatch done = new CountDownLatch(1);
        boolean[] ended = new boolean[1];
        try (BufferedWriter out = Files.newBufferedWriter(Path.of(file + ".jsonl"))) {
            var engine = DebeziumEngine.create(KeyValueHeaderChangeEventFormat.of(Json.class, Json.class, Json.class))
                .using(settings)
                .using((ok, message, error) -> {
                    if (!ok) {
                        System.err.println("engine of " + file + ": " + message);
                        if (error != null) {
                            error.printStackTrace();
                        }
                    }
                    done.countDown();
                })
                .notifying(record -> {
                    if (record.value() != null && record.value().contains(END)) {
                        ended[0] = true;
                        done.countDown();
                        return;
                    }
                    try {
                        out.write(line(record));
                        out.newLine();
                    } catch (java.io.IOException e) {
                        throw new java.io.UncheckedIOException(e);
                    }
                }).build();
            Thread runner = new Thread(engine);
            runner.start();
            done.await(120, TimeUnit.SECONDS);
            engine.close();
            runner.join(20_000);
        }
        return ended[0];
    }

    static String line(ChangeEvent<String, String> record) {
        List<String> headers = new ArrayList<>();
        for (Object each : record.headers()) {
            Header<?> header = (Header<?>) each;
            headers.add("\"" + header.getKey() + "\":" + header.getValue());
        }
        return "{\"topic\":\"" + record.destination() + "\",\"headers\":{" + String.join(",", headers)
            + "},\"key\":" + record.key() + ",\"value\":" + record.value() + "}";
    }
}
