import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.datatype.jsr310.JavaTimeModule;
import java.io.IOException;
import java.io.InputStream;

/**
 * The generated client passes every body through Jackson, whatever its media type. This mapper
 * leaves bytes as they are; all else is set up as in the generated ApiClient.
 */
class RawBytesMapper extends ObjectMapper {
  RawBytesMapper() {
    setSerializationInclusion(JsonInclude.Include.NON_NULL);
    configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false);
    configure(DeserializationFeature.FAIL_ON_INVALID_SUBTYPE, false);
    disable(SerializationFeature.WRITE_DATES_AS_TIMESTAMPS);
    enable(SerializationFeature.WRITE_ENUMS_USING_TO_STRING);
    enable(DeserializationFeature.READ_ENUMS_USING_TO_STRING);
    registerModule(new JavaTimeModule());
  }

  /** The client asks for a copy; this one is not changed after it is made. */
  @Override
  public ObjectMapper copy() {
    return this;
  }

  @Override
  public byte[] writeValueAsBytes(Object value) throws JsonProcessingException {
    return value instanceof byte[] bytes ? bytes : super.writeValueAsBytes(value);
  }

  @Override
  @SuppressWarnings("unchecked")
  public <T> T readValue(InputStream in, TypeReference<T> type) throws IOException {
    return type.getType() == byte[].class ? (T) in.readAllBytes() : super.readValue(in, type);
  }
}
