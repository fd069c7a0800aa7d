package javax.annotation;

/** Stands in for the annotation of JSR 305: the generated client only bears it. */
public @interface Nullable {}
