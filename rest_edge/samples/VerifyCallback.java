import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.Base64;
import java.util.HexFormat;
import java.util.Map;
import java.util.TreeMap;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * Verifies a callback: standard input has its headers, an empty line and the body, byte for byte.
 * Needs NOVAPAY_NOTIFY_SECRET. Exit status 0: genuine. One of the two formats is enough for a shop.
 */
public class VerifyCallback {
    static final long TOLERANCE_SECONDS = 300;

    static boolean verifyNovapay(Map<String, String> headers, byte[] body, String secret) throws Exception {
        String timestamp = headers.get("x-novapay-timestamp");
        byte[] digest = hmac(secret.getBytes(StandardCharsets.UTF_8), timestamp + ".", body);
        return isFresh(Instant.parse(timestamp).getEpochSecond())
                && isEqual(HexFormat.of().formatHex(digest), headers.get("x-novapay-signature"));
    }

    static boolean verifyStandardWebhooks(Map<String, String> headers, byte[] body, String secret) throws Exception {
        String timestamp = headers.get("webhook-timestamp");
        byte[] key = Base64.getDecoder().decode(secret.replaceFirst("^whsec_", ""));
        byte[] digest = hmac(key, headers.get("webhook-id") + "." + timestamp + ".", body);
        String expected = "v1," + Base64.getEncoder().encodeToString(digest);
        boolean matches = false;
        // The header may have several signatures, while a secret is being replaced.
        for (String given : headers.get("webhook-signature").split(" ")) {
            matches |= isEqual(expected, given);
        }
        return matches && isFresh(Long.parseLong(timestamp));
    }

    static byte[] hmac(byte[] key, String head, byte[] body) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        mac.update(head.getBytes(StandardCharsets.UTF_8));
        return mac.doFinal(body);
    }

    static boolean isFresh(long seconds) {
        return Math.abs(Instant.now().getEpochSecond() - seconds) < TOLERANCE_SECONDS;
    }

    static boolean isEqual(String expected, String given) {
        return MessageDigest.isEqual(expected.getBytes(StandardCharsets.UTF_8), given.getBytes(StandardCharsets.UTF_8));
    }

    public static void main(String[] arguments) throws Exception {
        byte[] request = System.in.readAllBytes();
        String text = new String(request, StandardCharsets.ISO_8859_1);
        int end = text.indexOf("\n\n");
        byte[] body = text.substring(end + 2).getBytes(StandardCharsets.ISO_8859_1);
        Map<String, String> headers = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);
        for (String line : text.substring(0, end).split("\n")) {
            String[] parts = line.split(":", 2);
            headers.put(parts[0], parts[1].strip());
        }
        String secret = System.getenv("NOVAPAY_NOTIFY_SECRET");
        boolean genuine = verifyNovapay(headers, body, secret) && verifyStandardWebhooks(headers, body, secret);
        System.out.println(genuine ? "genuine" : "refused");
        System.exit(genuine ? 0 : 1);
    }
}
