import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.Arrays;

import org.apache.kafka.common.utils.Exit;

/** Runs Apache's tools in one process: a line of standard input is a class and its arguments. */
public final class Tools {
    private static final class Ended extends RuntimeException {
        private Ended(int code) {
            super("exit code " + code);
        }
    }

    public static void main(String[] args) throws Exception {
        Exit.setExitProcedure((code, message) -> {
            throw new Ended(code);
        });
        Exit.setHaltProcedure((code, message) -> {
            throw new Ended(code);
        });
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.trim().split(" +");
            System.out.println("# " + line.trim());
            Method tool = Class.forName(words[0]).getMethod("main", String[].class);
            try {
                tool.invoke(null, (Object) Arrays.copyOfRange(words, 1, words.length));
            } catch (InvocationTargetException e) {
                System.out.println(e.getCause());
            }
        }
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }
}
