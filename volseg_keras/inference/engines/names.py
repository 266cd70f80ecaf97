"""Names of engines, without the libraries that run them."""

ENGINES = ("auto", "keras", "openvino", "onnxruntime")
