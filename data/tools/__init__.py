"""What is neither the method nor its data, on two floors.

Below scaffold.py, knowing nothing of the method: terminal, flags, files, machine.
Above what they use: traces, chat, figures, checkpoint, evaluation.
"""
