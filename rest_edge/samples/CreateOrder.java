import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.HexFormat;
import java.util.UUID;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** Signs and sends one request: java CreateOrder.java (17 or newer). Needs NOVAPAY_BASE, _MERCHANT, _KEY, _SECRET. */
public class CreateOrder {
    static HttpResponse<String> post(String path, String json, String idempotencyKey) throws Exception {
        byte[] body = json.getBytes(StandardCharsets.UTF_8);
        String timestamp = Long.toString(Instant.now().getEpochSecond());
        String nonce = UUID.randomUUID().toString();
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(env("SECRET").getBytes(StandardCharsets.UTF_8), "HmacSHA256"));
        mac.update((timestamp + "." + nonce + ".").getBytes(StandardCharsets.UTF_8));
        String signature = HexFormat.of().formatHex(mac.doFinal(body));
        HttpRequest request = HttpRequest.newBuilder(URI.create(env("BASE") + path))
                .timeout(Duration.ofSeconds(30))
                .header("x-novapay-key", env("KEY"))
                .header("x-novapay-timestamp", timestamp)
                .header("x-novapay-nonce", nonce)
                .header("x-novapay-signature", signature)
                .header("Idempotency-Key", idempotencyKey)
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofByteArray(body)) // the bytes that were signed
                .build();
        return HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
    }

    static String env(String name) {
        return System.getenv("NOVAPAY_" + name);
    }

    public static void main(String[] arguments) throws Exception {
        String order = "shop-" + UUID.randomUUID();
        String json = """
                {"merchantCode": "%s", "channelCode": "alipay.page", "externalOrderId": "%s",
                 "amount": "88.10", "subject": "年度会员"}""".formatted(env("MERCHANT"), order);
        HttpResponse<String> answer = post("/api/payment-orders", json, order);
        System.out.println(answer.body());
        System.exit(answer.statusCode() == 200 ? 0 : 1);
    }
}
