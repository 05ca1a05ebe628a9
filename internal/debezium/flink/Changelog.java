import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.formats.json.debezium.DebeziumJsonFormatFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.table.connector.format.ProjectableDecodingFormat;
import org.apache.flink.table.connector.source.DynamicTableSource;
import org.apache.flink.table.data.ArrayData;
import org.apache.flink.table.data.MapData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.ArrayType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.MapType;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.table.types.logical.utils.LogicalTypeParser;
import org.apache.flink.table.types.utils.TypeConversions;
import org.apache.flink.util.Collector;

/**
 * Gives record values to Flink's own debezium-json format, made by its factory
 * as the table connector for Kafka does, and writes the changelog that a query
 * would get.
 *
 * The first line of each file that is named is the table's type as Flink's SQL
 * has it, ROW<…>; each other line is a record's value in base64, or "-" for a
 * record without one. What comes out is in the file of that name plus ".jsonl",
 * a row a line: {"kind":"+I","row":{…},"metadata":{…}}, every value as a string
 * or null. A record that the format refuses is the last line, {"error":"…"}.
 */
public class Changelog {
    static final ObjectMapper JSON = new ObjectMapper();
    static final List<String> METADATA = List.of(
        "ingestion-timestamp", "source.timestamp", "source.database", "source.schema", "source.table", "source.properties");

    public static void main(String[] files) throws Exception {
        for (String file : files) {
            run(Path.of(file));
        }
    }

    static void run(Path file) throws Exception {
        List<String> out = new ArrayList<>();
        try (BufferedReader in = Files.newBufferedReader(file)) {
            DataType type = TypeConversions.fromLogicalToDataType(
                LogicalTypeParser.parse(in.readLine(), Changelog.class.getClassLoader()));
            ProjectableDecodingFormat<DeserializationSchema<RowData>> format = format();
            Map<String, DataType> metadata = format.listReadableMetadata();
            format.applyReadableMetadata(METADATA);
            DeserializationSchema<RowData> decoder =
                format.createRuntimeDecoder(new Context(), type, identity(DataType.getFieldCount(type)));
            decoder.open(null);
            RowType row = (RowType) type.getLogicalType();
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                byte[] value = line.equals("-") ? null : Base64.getDecoder().decode(line);
                try {
                    decoder.deserialize(value, new Printer(row, metadata, out));
                } catch (IOException e) {
                    out.add(JSON.writeValueAsString(Map.of("error", reasons(e))));
                    break;
                }
            }
        }
        Files.write(Path.of(file + ".jsonl"), out);
    }

    /** The format with the options that a table's WITH clause would have. */
    @SuppressWarnings("unchecked")
    static ProjectableDecodingFormat<DeserializationSchema<RowData>> format() {
        Configuration options = Configuration.fromMap(Map.of(
            "schema-include", "false", "ignore-parse-errors", "false", "timestamp-format.standard", "ISO-8601"));
        return (ProjectableDecodingFormat<DeserializationSchema<RowData>>)
            (Object) new DebeziumJsonFormatFactory().createDecodingFormat(null, options);
    }

    /** A projection that takes all columns. */
    static int[][] identity(int columns) {
        int[][] all = new int[columns][];
        for (int i = 0; i < columns; i++) {
            all[i] = new int[] {i};
        }
        return all;
    }

    static String reasons(Throwable e) {
        return e.getCause() == null ? e.getMessage() : e.getMessage() + ": " + reasons(e.getCause());
    }

    /** What the planner would say of types: the decoder only hands it on. */
    static class Context implements DynamicTableSource.Context {
        @Override
        @SuppressWarnings("unchecked")
        public <T> TypeInformation<T> createTypeInformation(DataType type) {
            return (TypeInformation<T>) TypeInformation.of(RowData.class);
        }

        @Override
        public <T> TypeInformation<T> createTypeInformation(LogicalType type) {
            return createTypeInformation((DataType) null);
        }

        @Override
        public DynamicTableSource.DataStructureConverter createDataStructureConverter(DataType type) {
            throw new UnsupportedOperationException();
        }
    }

    /** Writes rows as JSON. */
    record Printer(RowType type, Map<String, DataType> metadata, List<String> out) implements Collector<RowData> {
        @Override
        public void collect(RowData row) {
            Map<String, Object> columns = new TreeMap<>();
            int columnCount = type.getFieldCount();
            for (int i = 0; i < columnCount; i++) {
                columns.put(type.getFieldNames().get(i), field(row, type.getTypeAt(i), i));
            }
            Map<String, Object> more = new TreeMap<>();
            for (int i = 0; i < METADATA.size(); i++) {
                more.put(METADATA.get(i), field(row, metadata.get(METADATA.get(i)).getLogicalType(), columnCount + i));
            }
            Map<String, Object> line = new TreeMap<>();
            line.put("kind", row.getRowKind().shortString());
            line.put("row", columns);
            line.put("metadata", more);
            out.add(json(line));
        }

        @Override
        public void close() {}
    }

    static String field(RowData row, LogicalType type, int at) {
        return text(RowData.createFieldGetter(type, at).getFieldOrNull(row), type);
    }

    /** A value as text: floating point as its bits, bytes as hex, times as µs since 1970, lists and maps as JSON. */
    static String text(Object value, LogicalType type) {
        if (value == null) {
            return null;
        }
        if (value instanceof Double number) {
            return String.format("%016x", Double.doubleToRawLongBits(number));
        }
        if (value instanceof Float number) {
            return String.format("%08x", Float.floatToRawIntBits(number));
        }
        if (value instanceof byte[] bytes) {
            return HexFormat.of().formatHex(bytes);
        }
        if (value instanceof TimestampData time) {
            return Long.toString(time.getMillisecond() * 1000 + time.getNanoOfMillisecond() / 1000);
        }
        if (value instanceof ArrayData array) {
            return json(list(array, ((ArrayType) type).getElementType()));
        }
        if (value instanceof MapData map) {
            return json(map(map, (MapType) type));
        }
        return value.toString();
    }

    static List<String> list(ArrayData array, LogicalType element) {
        ArrayData.ElementGetter getter = ArrayData.createElementGetter(element);
        List<String> all = new ArrayList<>();
        for (int i = 0; i < array.size(); i++) {
            all.add(text(getter.getElementOrNull(array, i), element));
        }
        return all;
    }

    static Map<String, String> map(MapData map, MapType type) {
        List<String> keys = list(map.keyArray(), type.getKeyType());
        List<String> values = list(map.valueArray(), type.getValueType());
        Map<String, String> all = new TreeMap<>();
        for (int i = 0; i < keys.size(); i++) {
            all.put(keys.get(i), values.get(i));
        }
        return all;
    }

    static String json(Object value) {
        try {
            return JSON.writeValueAsString(value);
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }
}
