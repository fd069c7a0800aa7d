package com.fasterxml.jackson.datatype.jsr310;

import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.deser.std.StdDeserializer;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.fasterxml.jackson.databind.ser.std.StdSerializer;
import java.io.IOException;
import java.time.OffsetDateTime;

/** What the generated client needs of a part of Jackson that Debian has not. */
public class JavaTimeModule extends SimpleModule {
  public JavaTimeModule() {
    addDeserializer(OffsetDateTime.class, new StdDeserializer<>(OffsetDateTime.class) {
      @Override
      public OffsetDateTime deserialize(JsonParser in, DeserializationContext context) throws IOException {
        return OffsetDateTime.parse(in.getText());
      }
    });
    addSerializer(OffsetDateTime.class, new StdSerializer<>(OffsetDateTime.class) {
      @Override
      public void serialize(OffsetDateTime time, JsonGenerator out, SerializerProvider provider) throws IOException {
        out.writeString(time.toString());
      }
    });
  }
}
