from .output import prediction_lines as prediction_lines
