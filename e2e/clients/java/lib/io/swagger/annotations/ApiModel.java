package io.swagger.annotations;

/** Stands in for the annotation of a library that Debian has not: the generated client only bears it. */
public @interface ApiModel {
  String value() default "";

  String description() default "";
}
