"""A model of one's own, made elsewhere: taken as an ONNX file and released like any other."""
