"""Where the answers to NumPy functions are collected."""
#: NumPy function -> what answers it on Variables.
ANSWERS = {}
#: Name of an ndarray method -> function of the Variable and the method's arguments.
METHODS = {}


def answers(*functions, method=None):
    """Decorator: the function below answers these NumPy functions, and the ndarray method of that name."""
    def install(answer):
        for function in functions:
            ANSWERS[function] = answer
        if method:
            METHODS[method] = answer
        return answer
    return install
